//! The wrong registries.

use std::time::Duration;

/// What a wrong registry does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Hears nothing when no list is given.
    NoListHearsNothing,
    /// Hears nothing when the compatible call's list is empty.
    EmptyListHearsNothing,
    /// Hears everything when an explicit filter is empty.
    ExactEmptyHearsAll,
    /// Looks at the first name of a list only.
    FirstNameOnly,
    /// Delivers once per listing of a name.
    DuplicatesDeliverTwice,
    /// Takes the empty name for every channel.
    EmptyNameHearsAll,
    /// Takes the empty name for no channel.
    EmptyNameHearsNothing,
    /// Matches channels by prefix.
    MatchesPrefixes,
    /// Ignores case.
    FoldsCase,
    /// Ignores white space around names.
    TrimsNames,
    /// Takes `*` for every channel.
    MatchesWildcards,
    /// Takes a name for all that follow it after a colon.
    SplitsAtColons,
    /// Compares up to the first NUL.
    CutsAtNul,
    /// Loses names that start with two underscores.
    MagicNamesHearNothing,
    /// Compares numeric names as numbers.
    ComparesNumbers,
    /// Fails a broadcast that nobody hears on a name with a meaning of its own.
    EventNamesThrow,
    /// Keeps the caller's list.
    KeepsTheCallersList,
    /// Keeps a thousand names only.
    CutsLongLists,
    /// Loses names over 4 KiB.
    CutsLongNames,
    /// Compares the first 255 bytes of a name.
    CutsNames,
    /// Loses the fourth delivery.
    LosesTheFourth,
    /// Delivers to the first 64.
    DeliversToSixtyFour,
    /// Delivers everything twice.
    SendsTwice,
    /// Fails a broadcast that nobody hears.
    NobodyIsAnError,
    /// Sends the last message to whoever subscribes.
    ReplaysTheLast,
    /// Keeps the first 8 KiB of a payload.
    CutsPayloads,
    /// Drops a payload that equals the one before.
    MergesRepeats,
    /// Delivers waiting broadcasts newest first.
    LastInFirstOut,
    /// Delivers a nested broadcast before the outer one.
    InnerFirst,
    /// Delivers beside a broadcast that is in progress on another thread.
    DeliversOnEachThread,
    /// Removes another subscriber at the second unsubscribe.
    UnsubscribesAnother,
    /// Skips a subscriber when another leaves during a delivery.
    SkipsAfterARemoval,
    /// Goes on sending to who left during the broadcast.
    SendsToUnsubscribed,
    /// Calls close at unsubscribe.
    UnsubscribeCloses,
    /// Keeps one subscriber per sink.
    KeyedBySink,
    /// Refuses a sink that is subscribed.
    RefusesASinkTwice,
    /// Unsubscribes all subscribers of the sink.
    UnsubscribesTheWholeSink,
    /// Accepts subscribers after its shutdown.
    StaysOpenAfterShutdown,
    /// Accepts subscribers until its shutdown has ended, and leaves them.
    StaysOpenDuringShutdown,
    /// Revokes the first match only.
    RevokesTheFirstOnly,
    /// Revokes without closing.
    RevokesWithoutTelling,
    /// Goes on sending to who was revoked during the broadcast.
    SendsToRevoked,
    /// Closes the revoked and leaves them subscribed.
    RevokedStay,
    /// Revokes subscribers without identities too.
    RevokesTheNameless,
    /// Removes the newest subscriber with the revoked.
    RevocationTakesABystander,
    /// Ignores the case of identities.
    FoldsIdentities,
    /// Matches identities by prefix.
    MatchesIdentityPrefixes,
    /// Compares kind and value as one string.
    ConcatenatesKinds,
    /// Ignores the kind.
    IgnoresKinds,
    /// Revokes subscribers of a channel of that name.
    RevokesChannels,
    /// Looks at the first identity only.
    FirstIdentityOnly,
    /// Does not find the scope by revocation.
    ScopeIsNoIdentity,
    /// Counts an identity that is listed twice twice.
    CountsIdentities,
    /// Refuses who holds an identity once revoked.
    BansTheRevoked,
    /// Returns 1 for an unknown identity.
    UnknownReturnsOne,
    /// Closes twice.
    ClosesTwice,
    /// Closes again at every shutdown.
    ShutsDownAgain,
    /// Closes who has left, at the next revocation.
    ClosesTheUnsubscribed,
    /// Closes who unsubscribes inside its send and fails.
    ClosesWhoFailsAfterLeaving,
    /// Stops sending only after the close has ended.
    ClosesBeforeTheGate,
    /// Gives the wrong reason.
    SaysTheWrongReason,
    /// Gives no reason to the evicted.
    EvictsWithoutAReason,
    /// Ends as revoked, whatever reason the revocation names.
    IgnoresTheReason,
    /// Ends as revoked who is logged out inside its own send.
    ForgetsTheReasonOfADelayedClose,
    /// Ends as logged out when the revocation names no reason.
    RevokesAsLoggedOut,
    /// Reports the reason of the last revocation.
    ReportsTheLastReason,
    /// Leaves to the owner what waited for who was logged out.
    LoggedOutDrain,
    /// Does not tell tickets of a revocation that names its reason.
    NamedReasonsSpareTickets,
    /// Returns the survivors as well.
    CountsTheLiving,
    /// Counts who has left.
    CountsTheUnsubscribed,
    /// Removes each only after its close.
    RemovesAfterClosing,
    /// Stops the broadcast at a failing sink.
    StopsAtAFailure,
    /// Fails the broadcast for a failing sink.
    FailsTheBroadcast,
    /// Stops the revocation at a failing close.
    StopsAtAFailingClose,
    /// Does not count a failing close.
    FailingClosesDoNotCount,
    /// Stays wedged after a failing send.
    WedgesAtAFailure,
    /// Keeps failing sinks, against its declaration.
    KeepsFailingSinks,
    /// Removes failing sinks without closing them, against its declaration.
    DropsFailingSinks,
    /// Shares one table between registries.
    OneTableForAll,
    /// Fails the subscribe when an evicted sink fails.
    EvictionFailuresFailSubscribe,
    /// Loses broadcasts made from inside a send.
    LosesNestedBroadcasts,
    /// Delivers to who subscribed inside the delivery.
    IteratesTheLiveTable,
    /// Forgets the cap during a delivery.
    NestedSubscribesSkipTheCap,
    /// Allows one more than the cap.
    CapOffByOne,
    /// Closes the evicted and leaves them subscribed.
    EvictedStay,
    /// Evicts the newest.
    EvictsTheNewest,
    /// Evicts the whole scope.
    EvictsAll,
    /// Evicts one too many.
    EvictsOneTooMany,
    /// Counts who has left as a member of its scope.
    LeaversKeepTheirPlace,
    /// Caps all scopes together.
    CapsEverything,
    /// Caps groups.
    CapsGroups,
    /// Ignores the kind of a scope.
    ScopesIgnoreKinds,
    /// Accepts a cap of 0.
    CapOfZero,
    /// Evicts without closing.
    EvictedNotTold,
    /// Admits what was revoked since begin.
    TicketsForget,
    /// Tells the newest ticket only of a revocation.
    NewestTicketOnly,
    /// Tells tickets of a revocation after the closes.
    TicketsLearnLate,
    /// Subscribes who was refused.
    RefusedStay,
    /// Evicts for an admission that it refuses.
    RefusalsEvict,
    /// Counts open tickets.
    CountsTickets,
    /// Refuses for any revocation.
    AnyRevocationRefuses,
    /// Lets a ticket admit twice.
    TicketsAdmitTwice,
    /// Closes the sending subscriber inside its own send.
    ClosesInsideTheSend,
    /// Counts who unsubscribed during the revocation and was not closed.
    CountsWhoEscaped,
    /// Waits for a delivery in progress before it revokes.
    RevocationsWaitForDeliveries,
    /// Waits for a reader when its outbox is full.
    WaitsForRoom,
    /// Stops the broadcast at a full outbox.
    StopsAtAFullOutbox,
    /// Does not count what overflow loses.
    ForgetsLosses,
    /// Drops the new message for the oldest.
    DropsTheWrongOne,
    /// Drops messages where it should close.
    DropsInsteadOfClosing,
    /// Closes who lagged and leaves them subscribed.
    LaggedStay,
    /// Refuses a message larger than the bound.
    RefusesTheLarge,
    /// Puts the latest of a channel where an older one was.
    ReplacesInPlace,
    /// Drops the oldest of all, whatever its channel.
    IgnoresTheKey,
    /// Counts messages and not their bytes.
    IgnoresTheBytes,
    /// Counts letters for bytes.
    CountsLetters,
    /// Holds one message more than its bound.
    HoldsOneTooMany,
    /// Has no bound.
    HoldsEverything,
    /// Lets the owner take what waited when the subscriber was ended.
    FlushesAfterTheEnd,
    /// Hands out all that waits at once.
    TakesEverything,
    /// Hands out one message more than was asked for.
    TakesPastTheLimit,
    /// Accepts messages after the end.
    PushesAfterTheEnd,
    /// Does not discard what waits after a shutdown when it revokes.
    SparesTheDraining,
    /// Says the reason of an end once.
    SaysTheEndOnce,
    /// Keeps names in an encoding that does not have every letter.
    EncodesLatin1,
    /// Keeps the low byte of each letter.
    CastsLettersToBytes,
    /// Takes names for equal whose hashes are.
    KeysByHash,
    /// Refuses the 65th subscriber.
    RefusesCrowds,
    /// Keeps closes for the outermost revocation.
    QueuesCloses,
    /// Compares numeric identities as numbers.
    ComparesNumericIdentities,
    /// Ignores the case of kinds.
    FoldsKinds,
    /// Keeps identities in an encoding that does not have every letter.
    EncodesIdentities,
    /// Closes who does not listen to what is broadcast.
    ClosesWhoDoesNotHear,
    /// Goes on sending to who was evicted during the broadcast.
    SendsToEvicted,
    /// Delivers for all registries in whichever broadcasts.
    OneQueueForAll,
    /// Counts once more what a revocation inside one of its closes has ended.
    CountsNestedTwice,
    /// Loses who subscribes inside a close.
    LosesSubscribesInCloses,
    /// Forgets the cap during an eviction.
    ForgetsTheCapInCloses,
    /// Looks for revocations before it evicts, and not afterwards.
    LooksBeforeItEvicts,
    /// Closes a sink whose admission it refuses.
    ClosesTheRefused,
    /// Refuses to admit identities that it has not seen before.
    AdmitsTheKnown,
    /// Takes two locks in either order.
    LocksInTwoOrders,
    /// Loses a broadcast while another thread delivers one.
    LosesWhatOverlaps,
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
    /// How long its lanes may wait: some wait in vain, which need not last; the others are not to
    /// be hurried, or a busy machine is taken for one of them.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let waits = matches!(
            self.bug,
            Bug::RevocationsWaitForDeliveries | Bug::WaitsForRoom | Bug::LocksInTwoOrders
        );
        Duration::from_millis(if waits { 100 } else { 2_000 })
    }
}

const fn wrong(bug: Bug, breaks: &'static [&'static str], does: &'static str) -> Mutant {
    Mutant { bug, breaks, does }
}

/// All wrong registries, by requirement.
pub const MUTANTS: &[Mutant] = &[
    wrong(Bug::NoListHearsNothing, &["FLT-2"], "hears nothing when no list is given"),
    wrong(
        Bug::EmptyListHearsNothing,
        &["FLT-2"],
        "hears nothing when the compatible call's list is empty",
    ),
    wrong(Bug::ExactEmptyHearsAll, &["FLT-2"], "hears everything when an explicit filter is empty"),
    wrong(Bug::FirstNameOnly, &["FLT-1"], "looks at the first name of a list only"),
    wrong(Bug::DuplicatesDeliverTwice, &["FLT-3"], "delivers once per listing of a name"),
    wrong(Bug::EmptyNameHearsAll, &["FLT-4"], "takes the empty name for every channel"),
    wrong(Bug::EmptyNameHearsNothing, &["FLT-4"], "takes the empty name for no channel"),
    wrong(Bug::MatchesPrefixes, &["FLT-5"], "matches channels by prefix"),
    wrong(Bug::FoldsCase, &["FLT-5"], "ignores case"),
    wrong(Bug::TrimsNames, &["FLT-5"], "ignores white space around names"),
    wrong(Bug::MatchesWildcards, &["FLT-5"], "takes `*` for every channel"),
    wrong(Bug::SplitsAtColons, &["FLT-5"], "takes a name for all that follow it after a colon"),
    wrong(Bug::CutsAtNul, &["FLT-5"], "compares up to the first NUL"),
    wrong(
        Bug::EncodesLatin1,
        &["FLT-5"],
        "keeps names in an encoding that does not have every letter",
    ),
    wrong(Bug::CastsLettersToBytes, &["FLT-5"], "keeps the low byte of each letter"),
    wrong(Bug::KeysByHash, &["FLT-5"], "takes names for equal whose hashes are"),
    wrong(Bug::MagicNamesHearNothing, &["FLT-6"], "loses names that start with two underscores"),
    wrong(Bug::ComparesNumbers, &["FLT-6"], "compares numeric names as numbers"),
    wrong(
        Bug::EventNamesThrow,
        &["FLT-6"],
        "fails a broadcast that nobody hears on a name with a meaning of its own",
    ),
    wrong(Bug::KeepsTheCallersList, &["FLT-7"], "keeps the caller's list"),
    wrong(Bug::CutsLongLists, &["FLT-8"], "keeps a thousand names only"),
    wrong(Bug::CutsLongNames, &["FLT-8"], "loses names over 4 KiB"),
    wrong(Bug::CutsNames, &["FLT-5", "FLT-8"], "compares the first 255 bytes of a name"),
    wrong(Bug::LosesTheFourth, &["DEL-1"], "loses the fourth delivery"),
    wrong(Bug::DeliversToSixtyFour, &["DEL-1"], "delivers to the first 64"),
    wrong(Bug::SendsTwice, &["DEL-2"], "delivers everything twice"),
    wrong(Bug::NobodyIsAnError, &["DEL-3"], "fails a broadcast that nobody hears"),
    wrong(Bug::ReplaysTheLast, &["DEL-4"], "sends the last message to whoever subscribes"),
    wrong(Bug::CutsPayloads, &["DEL-4"], "keeps the first 8 KiB of a payload"),
    wrong(Bug::MergesRepeats, &["DEL-5"], "drops a payload that equals the one before"),
    wrong(Bug::LastInFirstOut, &["ORD-1"], "delivers waiting broadcasts newest first"),
    wrong(Bug::InnerFirst, &["ORD-2", "ORD-3"], "delivers a nested broadcast before the outer one"),
    wrong(
        Bug::DeliversOnEachThread,
        &["ORD-3"],
        "delivers beside a broadcast that is in progress on another thread",
    ),
    wrong(
        Bug::UnsubscribesAnother,
        &["SUB-2"],
        "removes another subscriber at the second unsubscribe",
    ),
    wrong(
        Bug::SkipsAfterARemoval,
        &["SUB-2", "REV-4", "ISO-1"],
        "skips a subscriber when another leaves during a delivery",
    ),
    wrong(Bug::SendsToUnsubscribed, &["SUB-3"], "goes on sending to who left during the broadcast"),
    wrong(Bug::UnsubscribeCloses, &["SUB-4"], "calls close at unsubscribe"),
    wrong(Bug::KeyedBySink, &["SUB-5"], "keeps one subscriber per sink"),
    wrong(Bug::RefusesCrowds, &["SUB-1"], "refuses the 65th subscriber"),
    wrong(Bug::RefusesASinkTwice, &["SUB-5"], "refuses a sink that is subscribed"),
    wrong(Bug::UnsubscribesTheWholeSink, &["SUB-5"], "unsubscribes all subscribers of the sink"),
    wrong(Bug::StaysOpenAfterShutdown, &["SUB-6"], "accepts subscribers after its shutdown"),
    wrong(
        Bug::StaysOpenDuringShutdown,
        &["SUB-6"],
        "accepts subscribers until its shutdown has ended, and leaves them",
    ),
    wrong(Bug::RevokesTheFirstOnly, &["REV-1"], "revokes the first match only"),
    wrong(Bug::RevokesWithoutTelling, &["REV-1"], "revokes without closing"),
    wrong(Bug::QueuesCloses, &["REV-1"], "keeps closes for the outermost revocation"),
    wrong(
        Bug::SendsToRevoked,
        &["REV-2", "CLO-4"],
        "goes on sending to who was revoked during the broadcast",
    ),
    wrong(Bug::RevokedStay, &["REV-2", "CLO-4"], "closes the revoked and leaves them subscribed"),
    wrong(Bug::RevokesTheNameless, &["REV-4"], "revokes subscribers without identities too"),
    wrong(
        Bug::RevocationTakesABystander,
        &["REV-4"],
        "removes the newest subscriber with the revoked",
    ),
    wrong(Bug::FoldsIdentities, &["REV-5"], "ignores the case of identities"),
    wrong(Bug::MatchesIdentityPrefixes, &["REV-5"], "matches identities by prefix"),
    wrong(Bug::ComparesNumericIdentities, &["REV-5"], "compares numeric identities as numbers"),
    wrong(Bug::FoldsKinds, &["REV-5"], "ignores the case of kinds"),
    wrong(
        Bug::EncodesIdentities,
        &["REV-5"],
        "keeps identities in an encoding that does not have every letter",
    ),
    wrong(Bug::ConcatenatesKinds, &["REV-6"], "compares kind and value as one string"),
    wrong(Bug::IgnoresKinds, &["REV-6"], "ignores the kind"),
    wrong(Bug::RevokesChannels, &["REV-6"], "revokes subscribers of a channel of that name"),
    wrong(Bug::FirstIdentityOnly, &["REV-7"], "looks at the first identity only"),
    wrong(Bug::ScopeIsNoIdentity, &["REV-1", "REV-7"], "does not find the scope by revocation"),
    wrong(Bug::CountsIdentities, &["REV-7"], "counts an identity that is listed twice twice"),
    wrong(Bug::BansTheRevoked, &["REV-9"], "refuses who holds an identity once revoked"),
    wrong(Bug::UnknownReturnsOne, &["REV-10"], "returns 1 for an unknown identity"),
    wrong(Bug::ClosesTwice, &["CLO-1"], "closes twice"),
    wrong(Bug::ShutsDownAgain, &["CLO-1"], "closes again at every shutdown"),
    wrong(Bug::ClosesWhoDoesNotHear, &["CLO-2"], "closes who does not listen to what is broadcast"),
    wrong(Bug::ClosesTheUnsubscribed, &["CLO-3"], "closes who has left, at the next revocation"),
    wrong(
        Bug::ClosesWhoFailsAfterLeaving,
        &["CLO-3"],
        "closes who unsubscribes inside its send and fails",
    ),
    wrong(
        Bug::ClosesBeforeTheGate,
        &["CLO-4", "REV-2", "CAP-1"],
        "stops sending only after the close has ended",
    ),
    wrong(
        Bug::SendsToEvicted,
        &["CLO-4"],
        "goes on sending to who was evicted during the broadcast",
    ),
    wrong(Bug::SaysTheWrongReason, &["CLO-5"], "gives the wrong reason"),
    wrong(Bug::EvictsWithoutAReason, &["CLO-5"], "gives no reason to the evicted"),
    wrong(
        Bug::RevokesAsLoggedOut,
        &["CLO-5"],
        "ends as logged out when the revocation names no reason",
    ),
    wrong(
        Bug::ReportsTheLastReason,
        &["CLO-5"],
        "reports the reason of the last revocation and not of the first",
    ),
    wrong(
        Bug::IgnoresTheReason,
        &["REV-13"],
        "ends as revoked, whatever reason the revocation names",
    ),
    wrong(
        Bug::ForgetsTheReasonOfADelayedClose,
        &["REV-13"],
        "ends as revoked who is logged out inside its own send",
    ),
    wrong(
        Bug::LoggedOutDrain,
        &["REV-3", "CLO-5"],
        "leaves to the owner what waited for who was logged out",
    ),
    wrong(Bug::CountsTheLiving, &["CNT-1"], "returns the survivors as well"),
    wrong(Bug::CountsTheUnsubscribed, &["CNT-2"], "counts who has left"),
    wrong(Bug::RemovesAfterClosing, &["CNT-3", "REV-8"], "removes each only after its close"),
    wrong(Bug::StopsAtAFailure, &["ISO-1"], "stops the broadcast at a failing sink"),
    wrong(Bug::FailsTheBroadcast, &["ISO-2"], "fails the broadcast for a failing sink"),
    wrong(Bug::StopsAtAFailingClose, &["ISO-3"], "stops the revocation at a failing close"),
    wrong(Bug::FailingClosesDoNotCount, &["ISO-3"], "does not count a failing close"),
    wrong(Bug::WedgesAtAFailure, &["ISO-4", "ISO-1"], "stays wedged after a failing send"),
    wrong(Bug::KeepsFailingSinks, &["ISO-5"], "keeps failing sinks, against its declaration"),
    wrong(
        Bug::DropsFailingSinks,
        &["ISO-5"],
        "removes failing sinks without closing them, against its declaration",
    ),
    wrong(Bug::OneTableForAll, &["ISO-6"], "shares one table between registries"),
    wrong(Bug::OneQueueForAll, &["ISO-6"], "delivers for all registries in whichever broadcasts"),
    wrong(
        Bug::EvictionFailuresFailSubscribe,
        &["ISO-7"],
        "fails the subscribe when an evicted sink fails",
    ),
    wrong(Bug::LosesNestedBroadcasts, &["RE-1"], "loses broadcasts made from inside a send"),
    wrong(Bug::IteratesTheLiveTable, &["RE-3"], "delivers to who subscribed inside the delivery"),
    wrong(
        Bug::CountsNestedTwice,
        &["RE-6"],
        "counts once more what a revocation inside one of its closes has ended",
    ),
    wrong(Bug::LosesSubscribesInCloses, &["RE-7"], "loses who subscribes inside a close"),
    wrong(Bug::ForgetsTheCapInCloses, &["RE-8"], "forgets the cap during an eviction"),
    wrong(Bug::NestedSubscribesSkipTheCap, &["CAP-1"], "forgets the cap during a delivery"),
    wrong(Bug::CapOffByOne, &["CAP-1"], "allows one more than the cap"),
    wrong(
        Bug::EvictedStay,
        &["CAP-1", "CNT-2", "CLO-4"],
        "closes the evicted and leaves them subscribed",
    ),
    wrong(Bug::EvictsTheNewest, &["CAP-2"], "evicts the newest"),
    wrong(Bug::EvictsAll, &["CAP-3"], "evicts the whole scope"),
    wrong(Bug::EvictsOneTooMany, &["CAP-3"], "evicts one too many"),
    wrong(Bug::LeaversKeepTheirPlace, &["CAP-3"], "counts who has left as a member of its scope"),
    wrong(Bug::CapsEverything, &["CAP-4"], "caps all scopes together"),
    wrong(Bug::CapsGroups, &["CAP-4"], "caps groups"),
    wrong(Bug::ScopesIgnoreKinds, &["CAP-4"], "ignores the kind of a scope"),
    wrong(Bug::CapOfZero, &["CAP-5"], "accepts a cap of 0"),
    wrong(Bug::EvictedNotTold, &["CAP-6"], "evicts without closing"),
    wrong(Bug::TicketsForget, &["ADM-1"], "admits what was revoked since begin"),
    wrong(Bug::NewestTicketOnly, &["ADM-1"], "tells the newest ticket only of a revocation"),
    wrong(
        Bug::LooksBeforeItEvicts,
        &["ADM-1"],
        "looks for revocations before it evicts, and not afterwards",
    ),
    wrong(Bug::TicketsLearnLate, &["ADM-1"], "tells tickets of a revocation after the closes"),
    wrong(
        Bug::NamedReasonsSpareTickets,
        &["ADM-1"],
        "does not tell tickets of a revocation that names its reason",
    ),
    wrong(Bug::RefusedStay, &["ADM-2", "ADM-1"], "subscribes who was refused"),
    wrong(Bug::RefusalsEvict, &["ADM-2"], "evicts for an admission that it refuses"),
    wrong(Bug::ClosesTheRefused, &["ADM-2"], "closes a sink whose admission it refuses"),
    wrong(Bug::CountsTickets, &["ADM-3"], "counts open tickets"),
    wrong(
        Bug::AdmitsTheKnown,
        &["ADM-4"],
        "refuses to admit identities that it has not seen before",
    ),
    wrong(Bug::AnyRevocationRefuses, &["ADM-5"], "refuses for any revocation"),
    wrong(Bug::TicketsAdmitTwice, &["ADM-6"], "lets a ticket admit twice"),
    wrong(Bug::ClosesInsideTheSend, &["RE-5"], "closes the sending subscriber inside its own send"),
    wrong(Bug::LocksInTwoOrders, &["CON-0"], "takes two locks in either order"),
    wrong(
        Bug::LosesWhatOverlaps,
        &["CON-1"],
        "loses a broadcast while another thread delivers one",
    ),
    wrong(
        Bug::CountsWhoEscaped,
        &["CON-2"],
        "counts who unsubscribed during the revocation and was not closed",
    ),
    wrong(
        Bug::RevocationsWaitForDeliveries,
        &["PRG-1"],
        "waits for a delivery in progress before it revokes",
    ),
    wrong(Bug::WaitsForRoom, &["QUE-2"], "waits for a reader when its outbox is full"),
    wrong(Bug::StopsAtAFullOutbox, &["QUE-2"], "stops the broadcast at a full outbox"),
    wrong(Bug::ForgetsLosses, &["QUE-1"], "does not count what overflow loses"),
    wrong(Bug::DropsTheWrongOne, &["QUE-1"], "drops the new message for the oldest"),
    wrong(Bug::DropsInsteadOfClosing, &["QUE-1"], "drops messages where it should close"),
    wrong(Bug::LaggedStay, &["QUE-1", "CNT-2"], "closes who lagged and leaves them subscribed"),
    wrong(Bug::RefusesTheLarge, &["QUE-1"], "refuses a message larger than the bound"),
    wrong(Bug::ReplacesInPlace, &["QUE-1"], "puts the latest of a channel where an older one was"),
    wrong(Bug::IgnoresTheKey, &["QUE-1"], "drops the oldest of all, whatever its channel"),
    wrong(Bug::IgnoresTheBytes, &["QUE-3"], "counts messages and not their bytes"),
    wrong(Bug::CountsLetters, &["QUE-3"], "counts letters for bytes"),
    wrong(Bug::HoldsOneTooMany, &["QUE-3"], "holds one message more than its bound"),
    wrong(Bug::HoldsEverything, &["QUE-3"], "has no bound"),
    wrong(
        Bug::FlushesAfterTheEnd,
        &["REV-3"],
        "lets the owner take what waited when the subscriber was ended",
    ),
    wrong(Bug::TakesEverything, &["REV-3"], "hands out all that waits at once"),
    wrong(Bug::TakesPastTheLimit, &["REV-3"], "hands out one message more than was asked for"),
    wrong(Bug::PushesAfterTheEnd, &["REV-2", "REV-3"], "accepts messages after the end"),
    wrong(
        Bug::SparesTheDraining,
        &["CLO-5"],
        "does not discard what waits after a shutdown when it revokes",
    ),
    wrong(Bug::SaysTheEndOnce, &["CLO-5"], "says the reason of an end once"),
];
