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
    /// The requirement whose words allow it, and which words; or else where the protocol does.
    pub allowed_by: &'static str,
}

variants! {
    DeliversBackwards "delivers newest subscriber first" by "ORD-1: at each subscriber";
    DeliversOddFirst "delivers to every second subscriber first" by "ORD-1: at each subscriber";
    DeliversInTurns "begins each broadcast with another subscriber" by "ORD-1: at each subscriber";
    DeliversToNamedFirst "delivers to those that name the channel first"
        by "ORD-1: at each subscriber";
    DeliversInnerFirst "delivers nested broadcasts at once, promising no total order"
        by "ORD-2: a SHOULD";
    DeclaresLess "has one order for all, and does not promise it" by "ORD-3: a declared policy";
    DeliversOnAHelper "delivers on a thread that it waits for" by "DEL-1: by when, not where";
    SendsOnHelpers "makes each send on a thread of its own, and waits for it"
        by "DEL-1: by when, not where";
    SendsAtOnce "makes all sends of a broadcast at once, and waits for them"
        by "ORD-1: at each subscriber";
    WaitsItsTurn "waits a moment for the broadcasts before it, on other threads"
        by "PRG-3: a declared policy";
    Asynchronous "delivers on a thread of its own, as declared" by "DEL-1: when ... have settled";
    Lingers "delivers on one thread that waits for more, as declared"
        by "DEL-1: when ... have settled";
    DeliversInLanes "delivers on a thread for each subscriber, as declared"
        by "DEL-1: when ... have settled";
    Reports "reports what became of a broadcast" by "DEL-7: reports the hand-over";
    ReportsFailuresAfterwards "reports a sink's failure after delivering to all"
        by "ISO-2: a SHOULD";
    KeepsFailing "keeps a sink that failed, as declared" by "ISO-5: one declared policy";
    DropsFailing "removes a sink that failed without closing it, as declared"
        by "ISO-5: one declared policy";
    ClosesFailingLast "closes sinks that failed after delivering to all"
        by "ISO-5: removes it, closes it once";
    ClosesItselfLast "closes one that ended in its own send after delivering to all"
        by "RE-5: waits for its send to end";
    ClosesOneByOne "searches until none is left, and closes one at a time" by "REV-8: a SHOULD";
    SearchesTwice "revokes those that came while it closed others too" by "RE-7: or closed once";
    ClosesBackwards "closes the newest of the revoked first" by "REV-1: when it returns";
    ClosesOnHelpers "makes each close on a thread that it waits for" by "REV-1: when it returns";
    ClosesAtOnce "makes all closes of a revocation at once, and waits for them"
        by "REV-1: when it returns";
    CountsTheClosing "counts one until its close has returned" by "CNT-3: a SHOULD";
    SparesTheUnsubscribed "spares one that unsubscribes before its turn in a revocation"
        by "CON-2: or neither";
    WaitsForTheRevoked "waits a moment for sends in progress to those it revokes"
        by "PRG-2: a SHOULD";
    WaitsForTheUnsubscribed "waits a moment for a send in progress to one it unsubscribes"
        by "SUB-3: after it returned";
    QueuesDeepCloses "leaves the closes of a third nested revocation to the outer"
        by "RE-8: down to a fixed depth";
    RefusesWhenFull "refuses the newcomer when a scope is full, as declared"
        by "CAP-2: the declared policy";
    EvictsAfterwards "evicts when the newcomer is in" by "CAP-1: when a subscribe returns";
    EvictsBefore "evicts before the newcomer is in" by "CAP-1: when a subscribe returns";
    ThrowsAtACapOfZero "throws at a cap below 1" by "CAP-5: cannot be constructed";
    CautiousTickets "refuses a ticket for any revocation" by "ADM-5: a SHOULD";
    CautiousWithKinds "refuses a ticket for any revocation of one of its kinds"
        by "ADM-5: a SHOULD";
    ForgetsRevocations "remembers two revocations, and refuses older tickets"
        by "ADM-6: bounded otherwise";
    RefusesTheOverlapping "refuses a ticket drawn while its identity was being revoked"
        by "ADM-1: overlaps the draw";
    ThrowsRefusals "throws when it is shut down and would refuse" by "ADM-2: however ... answered";
    ShutsDownTwice "lets subscribers in during a shutdown, and ends them with it"
        by "RE-7: or closed once";
    KeepsTheFirstReason "says shutdown although a revocation discarded the rest"
        by "CLO-5: the first reason";
    ShutdownDiscards "discards what waits when it shuts down" by "PROTOCOL: two may leave it";
    UnsubscribeKeeps "leaves what waits to one that unsubscribed" by "PROTOCOL: two may leave it";
    DisplacesEarly "displaces older messages of a channel although there is room"
        by "PROTOCOL: yours to decide";
    DisplacesFew "displaces no more messages of a channel than needed"
        by "PROTOCOL: displaces older ones";
    LatestIsLost "loses the newest where none of its channel can go"
        by "QUE-1: keep the latest of a key";
    LatestLags "closes as lagged where none of its channel can go"
        by "QUE-1: keep the latest of a key";
    ReportsAtTheGap "reports losses with the message after them" by "PROTOCOL: due at the latest";
    ReportsWhenEmpty "reports losses at the gap, or to a take that finds nothing"
        by "PROTOCOL: allowed before";
    ReportsAtTheEnd "reports losses at the gap, or beside the end" by "PROTOCOL: beside end";
    TakesOneByOne "hands out one message at a time" by "PROTOCOL: fewer than there are";
    TakesHalf "hands out half as many bytes as asked" by "PROTOCOL: fewer than there are";
    HearsNothing "means no channel by an empty list, as declared" by "PROTOCOL: empty_channels";
    DeclaresOtherwise "declares each policy the other way" by "ISO-5: one declared policy";
    GivesNoReasons "closes without a reason, and claims none" by "CLO-5: applies with reasons";
    ClaimsOnlyCore "has the core alone, and throws beyond it" by "PROTOCOL: never sent";
    ClaimsNoGroups "throws at a second identity, and claims no groups"
        by "PROTOCOL: never sent more";
    ClaimsNoKinds "throws at a kind, and claims no kinds" by "PROTOCOL: never sent more";
    ClaimsNoExact "throws at an exact filter, and claims none" by "PROTOCOL: never sent";
    ClaimsNoThreads "throws on a second thread, and claims no threads" by "PROTOCOL: never sent";
}
