//! Right registries that differ.

macro_rules! variants {
    ($($variety:ident $does:literal;)*) => {
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
            &[$(Variant { variety: Variety::$variety, does: $does }),*];
    };
}

/// A right registry that differs.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// How it differs.
    pub variety: Variety,
    /// In words.
    pub does: &'static str,
}

variants! {
    DeliversBackwards "delivers newest subscriber first";
    ClosesOneByOne "searches again until none is left, and closes one at a time";
    ReportsFailuresAfterwards "reports a sink's failure after delivering to all";
    KeepsFailing "keeps a sink that failed, as declared";
    DropsFailing "removes a sink that failed without closing it, as declared";
    DeliversInnerFirst "delivers nested broadcasts at once, promising no total order";
    CautiousTickets "refuses a ticket for any revocation";
    RefusesWhenFull "refuses the newcomer when a scope is full, as declared";
    Asynchronous "delivers on a thread of its own, as declared";
    DisplacesEarly
        "displaces older messages of a channel although there is room, to keep the latest";
    TakesOneByOne "hands out one message at a time";
    SparesTheUnsubscribed
        "neither closes nor counts one that unsubscribes before its turn in a revocation";
}
