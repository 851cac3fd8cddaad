//! Right registries that differ.

macro_rules! variants {
    ($($variety:ident $does:literal by $allowed_by:literal;)*) => {
        /// How a right registry differs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Variety {
            $(
                #[doc = concat!("The registry ", $does, ".")]
                $variety,
            )*
        }

        /// All right registries that differ.
        pub const VARIANTS: &[Variant] =
            &[$(Variant { variety: Variety::$variety, does: $does, allowed_by: $allowed_by }),*];
    };
}

/// A right registry that differs.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// How it differs.
    pub variety: Variety,
    /// In words.
    pub does: &'static str,
    /// The requirement that allows it, or PROTOCOL.md, and the words that do.
    pub allowed_by: &'static str,
}

variants! {
    DeliversBackwards "delivers newest subscriber first" by "ORD-1: at each subscriber";
    DeliversOddFirst "delivers to every second subscriber first" by "ORD-1: at each subscriber";
    DeliversInTurns "begins each broadcast with another subscriber" by "ORD-1: at each subscriber";
    DeliversToNamedFirst "delivers first to those with a list" by "ORD-1: at each subscriber";
    DeliversInnerFirst "delivers nested broadcasts at once, in no total order" by "ORD-2: a SHOULD";
    DeclaresLess "has one order for all, and does not promise it" by "ORD-3: a MAY";
    DeliversOnAHelper "delivers on a thread that it waits for" by "PROTOCOL: your registry owns";
    SendsOnHelpers "makes each send on a thread that it waits for"
        by "PROTOCOL: your registry owns";
    SendsAtOnce "makes all sends of a broadcast at once" by "ORD-1: at each subscriber";
    SendsAtOnceLater "makes all sends of a broadcast at once, later" by "ORD-1: at each subscriber";
    WaitsItsTurn "waits a moment for broadcasts on other threads" by "PRG-3: a MAY";
    Asynchronous "delivers on a thread of its own, as declared"
        by "DEL-1: in progress have settled";
    Reports "reports what became of a broadcast" by "DEL-7: reports the hand-over";
    ReportsFailuresAfterwards "reports a sink's failure after delivering to all"
        by "ISO-2: a SHOULD";
    KeepsFailing "keeps a sink that failed, as declared" by "ISO-5: one declared policy";
    DropsFailing "removes a sink that failed without a close, as declared"
        by "ISO-5: one declared policy";
    ClosesFailingLast "closes what failed after delivering to all" by "ISO-5: closes it once";
    ClosesItselfLast "closes what its own send ended after delivering to all"
        by "RE-5: waits for its send";
    ClosesOneByOne "searches until none is left, and closes one at a time" by "REV-8: a SHOULD";
    SearchesTwice "revokes those that came while it closed others too" by "RE-7: or closed once";
    ClosesBackwards "closes the newest first" by "REV-1: when `close_by_identity` returns";
    ClosesOnHelpers "makes each close on a thread that it waits for"
        by "PROTOCOL: your registry owns";
    ClosesAtOnce "makes all closes of a revocation at once"
        by "REV-1: when `close_by_identity` returns";
    CountsTheClosing "counts one until its close has returned" by "CNT-3: a SHOULD";
    SparesTheUnsubscribed "spares one that unsubscribes before its turn" by "CON-2: or neither";
    WaitsForTheRevoked "waits a moment for sends to those it revokes" by "PRG-2: a SHOULD";
    WaitsForTheUnsubscribed "waits a moment for a send to one it unsubscribes" by "SUB-3: returned";
    RefusesWhenFull "refuses the newcomer to a full scope, as declared"
        by "CAP-2: the declared policy";
    EvictsAfterwards "evicts when the newcomer is in" by "CAP-1: when a subscribe returns";
    CautiousTickets "refuses a ticket for any revocation" by "ADM-5: a SHOULD";
    CautiousWithKinds "refuses a ticket for any revocation of its kinds" by "ADM-5: a SHOULD";
    ForgetsRevocations "remembers two, and refuses older tickets" by "ADM-6: bounded otherwise";
    RefusesTheOverlapping "refuses a ticket drawn during a revocation"
        by "ADM-1: overlaps the draw";
    ThrowsRefusals "throws when it was shut down" by "ADM-2: however the refusal is answered";
    ShutsDownTwice "ends those that came during a shutdown too" by "RE-7: or closed once";
    KeepsTheFirstReason "says shutdown of what was revoked later" by "CLO-5: the first reason";
    ShutdownDiscards "discards what waits when it shuts down" by "PROTOCOL: two may leave it";
    UnsubscribeKeeps "leaves what waits to one that unsubscribed" by "PROTOCOL: two may leave it";
    DisplacesEarly "displaces older ones of a channel before it must"
        by "PROTOCOL: yours to decide";
    DisplacesFew "displaces no more of a channel than needed" by "PROTOCOL: displaces older ones";
    LatestIsLost "loses the newest where none of its channel waits"
        by "PROTOCOL: displaces older ones";
    LatestLags "closes as lagged where none of its channel waits"
        by "PROTOCOL: displaces older ones";
    ReportsAtTheGap "reports losses with the message after them" by "PROTOCOL: due at the latest";
    ReportsWhenEmpty "reports losses at the gap, or when nothing waits"
        by "PROTOCOL: allowed before";
    ReportsAtTheEnd "reports losses at the gap, or beside the end" by "PROTOCOL: may stand beside";
    TakesOneByOne "hands out one message at a time" by "PROTOCOL: fewer than there are";
    TakesHalf "hands out half as many bytes as asked" by "PROTOCOL: fewer than there are";
    HearsNothing "means no channel by an empty list" by "PROTOCOL: what an empty list means";
    DeclaresOtherwise "declares each policy the other way" by "ISO-5: one declared policy";
    GivesNoReasons "closes without a reason, and claims none" by "PROTOCOL: close carries a reason";
    ClaimsOnlyCore "has the core alone, and throws beyond it" by "PROTOCOL: are never sent";
    ClaimsNoGroups "throws at a second identity" by "PROTOCOL: never sent more";
    ClaimsNoKinds "throws at a kind" by "PROTOCOL: never sent more";
    ClaimsNoExact "throws at an exact filter" by "PROTOCOL: never sent more";
    ClaimsNoAdmission "throws at an admission" by "PROTOCOL: are never sent";
    AddressesTheNewestFirst "sends to the newest holder of an identity first"
        by "DIR-2: in the order of their ids";
    AddressesScopesFirst "sends first to those that hold an identity as their scope"
        by "DIR-1: as scope or as group";
    ClaimsNoDirected "throws at a message to an identity" by "PROTOCOL: are never sent";
    ClaimsNoQueued "throws at an outbox" by "PROTOCOL: are never sent";
    ClaimsNoThreads "throws on a second thread" by "PROTOCOL: are never sent";
}
