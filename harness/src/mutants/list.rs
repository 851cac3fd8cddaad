//! The wrong registries.

use std::time::Duration;

use crate::shrink::Bounds;

macro_rules! mutants {
    ($($bug:ident [$($breaks:literal)*] $does:literal;)*) => {
        /// What a wrong registry does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(
                #[doc = concat!("The registry ", $does, ".")]
                $bug,
            )*
        }

        /// All wrong registries, in the order of the requirements.
        pub const MUTANTS: &[Mutant] =
            &[$(Mutant { bug: Bug::$bug, breaks: &[$($breaks),*], does: $does }),*];
    };
}

/// A wrong registry.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What it does wrong.
    pub bug: Bug,
    /// The requirement that it breaks, and others that the same act breaks.
    pub breaks: &'static [&'static str],
    /// In words.
    pub does: &'static str,
}

impl Mutant {
    /// How long its threads may wait: some wait in vain, which need not last; the others are not to
    /// be hurried, or a busy machine is taken for one of them.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let waits = matches!(
            self.bug,
            Bug::RevocationsWaitForDeliveries | Bug::WaitsForRoom | Bug::LocksInTwoOrders
        );
        Duration::from_millis(if waits { 500 } else { 2_000 })
    }

    /// How long its script is made smaller: where each run takes the patience, nobody waits for the
    /// smallest.
    #[must_use]
    pub fn shrinking(&self) -> Bounds {
        let usual = Bounds::default();
        let waits = self.patience() < Duration::from_secs(1);
        Bounds { time: if waits { Duration::from_secs(1) } else { usual.time }, ..usual }
    }
}

mutants! {
    NoListHearsNothing ["FLT-2"] "hears nothing when no list is given";
    EmptyListHearsNothing ["FLT-2"] "hears nothing when the compatible call's list is empty";
    ExactEmptyHearsAll ["FLT-2"] "hears everything when an explicit filter is empty";
    FirstNameOnly ["FLT-1"] "looks at the first name of a list only";
    DuplicatesDeliverTwice ["FLT-3"] "delivers once per listing of a name";
    EmptyNameHearsAll ["FLT-4"] "takes the empty name for every channel";
    EmptyNameHearsNothing ["FLT-4"] "takes the empty name for no channel";
    MatchesPrefixes ["FLT-5"] "matches channels by prefix";
    FoldsCase ["FLT-5"] "ignores case";
    TrimsNames ["FLT-5"] "ignores white space around names";
    MatchesWildcards ["FLT-5"] "takes `*` for every channel";
    SplitsAtColons ["FLT-5"] "takes a name for all that follow it after a colon";
    CutsAtNul ["FLT-5"] "compares up to the first NUL";
    EncodesLatin1 ["FLT-5"] "keeps names in an encoding that does not have every letter";
    CastsLettersToBytes ["FLT-5"] "keeps the low byte of each letter";
    KeysByHash ["FLT-5"] "takes names for equal whose hashes are";
    MagicNamesHearNothing ["FLT-6"] "loses names that start with two underscores";
    ComparesNumbers ["FLT-6"] "compares numeric names as numbers";
    EventNamesThrow ["FLT-6"]
        "fails a broadcast without listeners on a name with a meaning of its own";
    KeepsTheCallersList ["FLT-7"] "keeps the caller's list";
    CutsLongLists ["FLT-8"] "keeps a thousand names only";
    CutsLongNames ["FLT-8"] "loses names over 4 KiB";
    CutsNames ["FLT-5" "FLT-8"] "compares the first 255 bytes of a name";
    LosesTheFourth ["DEL-1"] "loses the fourth delivery";
    DeliversToSixtyFour ["DEL-1"] "delivers to the first 64";
    SendsTwice ["DEL-2"] "delivers everything twice";
    NobodyIsAnError ["DEL-3"] "fails a broadcast without listeners";
    FailsAfterShutdown ["DEL-3"] "fails a broadcast after its shutdown";
    ReplaysTheLast ["DEL-4"] "sends the last message to each new subscriber";
    CutsPayloads ["DEL-4"] "keeps the first 8 KiB of a payload";
    MergesRepeats ["DEL-5"] "drops a payload that equals the one before";
    MergesWhatWaits ["DEL-5"] "drops a waiting broadcast's payload that comes again";
    LastInFirstOut ["ORD-1"] "delivers waiting broadcasts newest first";
    InnerFirst ["ORD-2" "ORD-3"] "delivers a nested broadcast before the outer one";
    DeliversOnEachThread ["ORD-3"]
        "delivers beside a broadcast that is in progress on another thread";
    UnsubscribesAnother ["SUB-2"] "removes another subscriber at the second unsubscribe";
    SkipsAfterARemoval ["SUB-2" "REV-4" "ISO-1"]
        "skips a subscriber when another leaves during a delivery";
    SendsToUnsubscribed ["SUB-3"] "goes on sending to a subscriber that left during the broadcast";
    UnsubscribeCloses ["SUB-4"] "calls close at unsubscribe";
    KeyedBySink ["SUB-5"] "keeps one subscriber per sink";
    RefusesCrowds ["SUB-1"] "refuses the 65th subscriber";
    RefusesASinkTwice ["SUB-5"] "refuses a sink that is subscribed";
    UnsubscribesTheWholeSink ["SUB-5"] "unsubscribes all subscribers of the sink";
    StaysOpenAfterShutdown ["SUB-6"] "accepts subscribers after its shutdown";
    StaysOpenDuringShutdown ["SUB-6"]
        "accepts subscribers until its shutdown has ended, and leaves them";
    RevokesTheFirstOnly ["REV-1"] "revokes the first match only";
    RevokesWithoutTelling ["REV-1"] "revokes without closing";
    QueuesCloses ["REV-1"] "keeps closes for the outermost revocation";
    ClosesAfterSendsOfOthers ["REV-1" "PRG-1"]
        "leaves the close of a sink to the thread that is sending to it";
    SendsToRevoked ["REV-2" "CLO-4"] "goes on sending to one that was revoked during the broadcast";
    RevokedStay ["REV-2" "CLO-4"] "closes the revoked and leaves them subscribed";
    RevokesTheNameless ["REV-4"] "revokes subscribers without identities too";
    RevocationTakesABystander ["REV-4"] "removes the newest subscriber with the revoked";
    FoldsIdentities ["REV-5"] "ignores the case of identities";
    MatchesIdentityPrefixes ["REV-5"] "matches identities by prefix";
    ComparesNumericIdentities ["REV-5"] "compares numeric identities as numbers";
    FoldsKinds ["REV-5"] "ignores the case of kinds";
    EncodesIdentities ["REV-5"] "keeps identities in an encoding that does not have every letter";
    ConcatenatesKinds ["REV-6"] "compares kind and value as one string";
    IgnoresKinds ["REV-6"] "ignores the kind";
    RevokesChannels ["REV-6"] "revokes subscribers of a channel of that name";
    FirstIdentityOnly ["REV-7"] "looks at the first identity only";
    ScopeIsNoIdentity ["REV-1" "REV-7"] "does not find the scope by revocation";
    CountsIdentities ["REV-7"] "counts an identity that is listed twice twice";
    BansTheRevoked ["REV-9"] "refuses holders of an identity that was ever revoked";
    UnknownReturnsOne ["REV-10"] "returns 1 for an unknown identity";
    ClosesTwice ["CLO-1"] "closes twice";
    ShutsDownAgain ["CLO-1"] "closes again at every shutdown";
    ClosesNonListeners ["CLO-2"] "closes subscribers that do not listen to a broadcast";
    ClosesTheUnsubscribed ["CLO-3"] "closes the unsubscribed at the next revocation";
    ClosesAFailureAfterLeaving ["CLO-3"]
        "closes a sink that unsubscribes inside its send and fails";
    ClosesBeforeTheGate ["CLO-4" "REV-2" "CAP-1"] "stops sending only after the close has ended";
    SendsToEvicted ["CLO-4"] "goes on sending to one that was evicted during the broadcast";
    SaysTheLastEnd ["CLO-5"] "says that one which left was revoked, if it is revoked later";
    SaysTheWrongReason ["CLO-5"] "gives the wrong reason";
    EvictsWithoutAReason ["CLO-5"] "gives no reason to the evicted";
    RevokesAsLoggedOut ["CLO-5"] "ends as logged out when the revocation names no reason";
    ReportsTheLastReason ["CLO-5"] "reports the reason of the last revocation and not of the first";
    IgnoresTheReason ["REV-13"] "ends as revoked, whatever reason the revocation names";
    ForgetsTheReasonOfADelayedClose ["REV-13"]
        "ends a subscriber as revoked that is logged out inside its own send";
    LoggedOutDrain ["REV-3" "CLO-5"] "lets the owner take what waited when it was logged out";
    CountsTheLiving ["CNT-1"] "returns the survivors as well";
    CountsTheUnsubscribed ["CNT-2"] "counts the unsubscribed";
    RemovesAfterClosing ["CNT-3" "REV-8"] "removes each only after its close";
    StopsAtAFailure ["ISO-1"] "stops the broadcast at a failing sink";
    FailsTheBroadcast ["ISO-2"] "fails the broadcast for a failing sink";
    StopsAtAFailingClose ["ISO-3"] "stops the revocation at a failing close";
    FailingClosesDoNotCount ["ISO-3"] "does not count a failing close";
    WedgesAtAFailure ["ISO-4" "ISO-1"] "stays wedged after a failing send";
    KeepsFailingSinks ["ISO-5"] "keeps failing sinks, against its declaration";
    DropsFailingSinks ["ISO-5"]
        "removes failing sinks without closing them, against its declaration";
    OneTableForAll ["ISO-6"] "shares one table between registries";
    OneQueueForAll ["ISO-6"] "delivers for all registries in whichever broadcasts";
    EvictionFailuresFailSubscribe ["ISO-7"] "fails the subscribe when an evicted sink fails";
    LosesNestedBroadcasts ["RE-1"] "loses broadcasts made from inside a send";
    IteratesTheLiveTable ["RE-3"] "delivers to subscribers that came inside the delivery";
    CountsNestedTwice ["RE-6"]
        "counts once more what a revocation inside one of its closes has ended";
    LetsOthersIn ["RE-4"]
        "delivers to subscribers that came on another thread during the delivery";
    LosesSubscribesInCloses ["RE-7"] "loses subscribers that come inside a close";
    ForgetsTheCapInCloses ["RE-8"] "forgets the cap during an eviction";
    NestedSubscribesSkipTheCap ["CAP-1"] "forgets the cap during a delivery";
    CapOffByOne ["CAP-1"] "allows one more than the cap";
    EvictedStay ["CAP-1" "CNT-2" "CLO-4"] "closes the evicted and leaves them subscribed";
    EvictsTheNewest ["CAP-2"] "evicts the newest";
    EvictsAll ["CAP-3"] "evicts the whole scope";
    EvictsOneTooMany ["CAP-3"] "evicts one too many";
    LeaversKeepTheirPlace ["CAP-3"] "counts the unsubscribed as members of their scope";
    CapsEverything ["CAP-4"] "caps all scopes together";
    CapsGroups ["CAP-4"] "caps groups";
    ScopesIgnoreKinds ["CAP-4"] "ignores the kind of a scope";
    CapOfZero ["CAP-5"] "accepts a cap of 0";
    EvictedNotTold ["CAP-6"] "evicts without closing";
    TicketsForget ["ADM-1"] "admits what was revoked since begin";
    NewestTicketOnly ["ADM-1"] "tells the newest ticket only of a revocation";
    LooksBeforeItEvicts ["ADM-1"] "looks for revocations before it evicts, and not afterwards";
    TicketsLearnLate ["ADM-1"] "tells tickets of a revocation after the closes";
    NamedReasonsSpareTickets ["ADM-1"]
        "does not apply to tickets a revocation that names its reason";
    RefusedStay ["ADM-2" "ADM-1"] "keeps a subscriber that it refuses";
    RefusalsEvict ["ADM-2"] "evicts for an admission that it refuses";
    ClosesTheRefused ["ADM-2"] "closes a sink whose admission it refuses";
    CountsTickets ["ADM-3"] "counts open tickets";
    AdmitsTheKnown ["ADM-4"] "refuses to admit identities that it has not seen before";
    AnyRevocationRefuses ["ADM-5"] "refuses for any revocation";
    TicketsAdmitTwice ["ADM-6"] "lets a ticket admit twice";
    ClosesInsideTheSend ["RE-5"] "closes the sending subscriber inside its own send";
    ClosesTheSenderElsewhere ["RE-5"]
        "closes the sending subscriber on another thread, inside its own send";
    LocksInTwoOrders ["CON-0"] "takes two locks in either order";
    LosesWhatOverlaps ["CON-1"] "loses a broadcast while another thread delivers one";
    CountsTheEscaped ["CON-2"]
        "counts one that unsubscribed during the revocation and was not closed";
    RevocationsWaitForDeliveries ["PRG-1"] "waits for a delivery in progress before it revokes";
    WaitsForRoom ["QUE-2"] "waits for a reader when its outbox is full";
    StopsAtAFullOutbox ["QUE-2"] "stops the broadcast at a full outbox";
    ForgetsLosses ["QUE-1"] "does not count what overflow loses";
    CountsTheDiscarded ["QUE-1"] "counts what an end discards as lost by overflow";
    DropsTheWrongOne ["QUE-1"] "drops the new message for the oldest";
    DropsInsteadOfClosing ["QUE-1"] "drops messages where it should close";
    LaggedStay ["QUE-1" "CNT-2"] "closes the lagged and leaves them subscribed";
    RefusesTheLarge ["QUE-1"] "refuses a message larger than the bound";
    ReplacesInPlace ["QUE-1"] "puts the latest of a channel where an older one was";
    DisplacesForNothing ["QUE-1"]
        "displaces older ones of a channel, and then loses the newest";
    IgnoresTheKey ["QUE-1"] "drops the oldest of all, whatever its channel";
    IgnoresTheBytes ["QUE-3"] "counts messages and not their bytes";
    CountsLetters ["QUE-3"] "counts letters for bytes";
    HoldsOneTooMany ["QUE-3"] "holds one message more than its bound";
    HoldsEverything ["QUE-3"] "has no bound";
    FlushesAfterTheEnd ["REV-3"] "lets the owner take what waited when the subscriber was ended";
    TakesEverything ["REV-3"] "hands out all that waits at once";
    TakesPastTheLimit ["REV-3"] "hands out one message more than was asked for";
    PushesAfterTheEnd ["REV-2" "REV-3"] "accepts messages after the end";
    SparesTheDraining ["CLO-5"] "does not discard what waits after a shutdown when it revokes";
    SaysTheEndOnce ["CLO-5"] "says the reason of an end once";
    FiltersTheAddressed ["DIR-1"] "applies the filters to what is sent to an identity";
    AddressesTheNewest ["DIR-1"] "sends to the newest holder of an identity only";
    AddressesTheOldest ["DIR-1"] "sends to the oldest holder of an identity only";
    AddressesGroupsOnly ["DIR-1"] "does not send to those that hold an identity as their scope";
    AddressesEachListing ["DIR-1"] "sends twice to one that holds an identity by scope and group";
    AddressesValues ["DIR-1"] "sends to an identity's value, whatever its kind";
    AddressesNewcomers ["DIR-1"] "sends to those that come later what was sent to their identity";
    AddressesNoOutboxes ["DIR-1"] "does not send to outboxes what is sent to an identity";
    AddressesAtOnce ["DIR-2"]
        "delivers what is sent to an identity at once, beside what is being delivered";
    AddressedOvertake ["DIR-2"] "puts what is sent to an identity before what waits";
    AddressesAllIfNobody ["DIR-3"] "sends to all if nobody holds the identity";
    UnknownAddressesThrow ["DIR-3"] "fails to send to an identity that nobody holds";
    AddressesTheRevoked ["DIR-4"]
        "goes on sending to holders that ended while a message to them was delivered";
    AddressesPastTheBound ["DIR-5"] "does not count what is sent to an identity as waiting";
    MatchesAllInReports ["DEL-7"] "reports that a message to an identity matched all";
}
