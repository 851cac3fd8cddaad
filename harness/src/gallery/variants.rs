//! Right registries that differ.

/// How a right registry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variety {
    /// Delivers newest subscriber first.
    DeliversBackwards,
    /// Searches again until none is left, and closes one at a time.
    ClosesOneByOne,
    /// Reports a sink's failure after delivering to all.
    ReportsFailuresAfterwards,
    /// Keeps a sink that failed, as declared.
    KeepsFailing,
    /// Removes a sink that failed without closing it, as declared.
    DropsFailing,
    /// Delivers nested broadcasts at once, promising no total order.
    DeliversInnerFirst,
    /// Refuses a ticket for any revocation.
    CautiousTickets,
    /// Refuses the newcomer when a scope is full, as declared.
    RefusesWhenFull,
    /// Delivers on a thread of its own, as declared.
    Asynchronous,
    /// Displaces the older of a channel although there is room, where the latest is kept.
    DisplacesEarly,
    /// Hands out one message at a time.
    TakesOneByOne,
    /// Neither closes nor counts who unsubscribes before its turn in a revocation.
    SparesWhoLeft,
}

/// A right registry that differs.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// How it differs.
    pub variety: Variety,
    /// In words.
    pub does: &'static str,
}

const fn legal(variety: Variety, does: &'static str) -> Variant {
    Variant { variety, does }
}

/// All right registries that differ.
pub const VARIANTS: &[Variant] = &[
    legal(Variety::DeliversBackwards, "delivers newest subscriber first"),
    legal(Variety::ClosesOneByOne, "searches again until none is left, and closes one at a time"),
    legal(Variety::ReportsFailuresAfterwards, "reports a sink's failure after delivering to all"),
    legal(Variety::KeepsFailing, "keeps a sink that failed, as declared"),
    legal(Variety::DropsFailing, "removes a sink that failed without closing it, as declared"),
    legal(
        Variety::DeliversInnerFirst,
        "delivers nested broadcasts at once, promising no total order",
    ),
    legal(Variety::CautiousTickets, "refuses a ticket for any revocation"),
    legal(Variety::RefusesWhenFull, "refuses the newcomer when a scope is full, as declared"),
    legal(Variety::Asynchronous, "delivers on a thread of its own, as declared"),
    legal(
        Variety::DisplacesEarly,
        "displaces older messages of a channel although there is room, to keep the latest",
    ),
    legal(Variety::TakesOneByOne, "hands out one message at a time"),
    legal(
        Variety::SparesWhoLeft,
        "neither closes nor counts who unsubscribes before its turn in a revocation",
    ),
];
