//! Names that careless code takes for each other.
//!
//! A *fold* is a comparison that is not equality: it takes two fragments for the same, whatever
//! stands around them. So a family of neighbours is made of a stem of any length, and of a fold's
//! two fragments at its end, at its beginning or in its middle.

use fastrand::Rng;

use crate::script::Identity;

macro_rules! folds {
    ($($one:literal $other:literal;)*) => {
        /// Pairs of fragments that a language, a library or a broker takes for each other.
        const FOLDS: &[(&str, &str)] = &[$(($one, $other)),*];
    };
}

folds! {
    // Unicode case, whole and special.
    "a" "A"; "\u{e9}" "\u{c9}"; "\u{df}" "ss"; "i" "\u{131}"; "\u{3c3}" "\u{3c2}";
    // Canonical and compatible forms, width.
    "\u{e9}" "e\u{301}"; "\u{fb01}" "fi"; "\u{ff41}" "a"; "\u{2460}" "1";
    // White space and what is not seen.
    "" " "; "" "\t"; "" "\n"; "\n" "\r\n"; "" "\u{a0}"; "" "\u{feff}"; "" "\u{200b}"; " " "  ";
    " " "_";
    // Ends: prefixes, cuts, separators.
    "" "b"; "" "\0"; "" "\0b"; "" ":"; "" "/"; "" "."; "" ":b"; "" ".b"; "" "/b"; "" ",b"; "" "|b";
    "" " b"; "a:b" "a.b";
    // Patterns: glob, regular expressions, MQTT, NATS, SQL.
    "a" "*"; "a" "?"; "a" "."; "a" "[a-z]"; ".a" ".*"; ".a" ".>"; "/a" "/#"; "/a" "/+"; "a" "%";
    "a" "_";
    // Escapes.
    "a" "%61"; "a" "\\x61"; "&" "&amp;";
    // Numbers.
    "1" "01"; "1" "1.0"; "1" "+1"; "100" "1e2";
    // Lossy encodings, low bytes, halves of surrogate pairs, equal hashes.
    "\u{65e5}" "\u{672c}"; "\u{e9}" "?"; "\u{1f600}" "\u{1f601}"; "a" "\u{161}"; "Aa" "BB";
    "ab" "ba";
}

/// Names that mean something by themselves in some language.
const MEANING: [&[&str]; 8] = [
    &["", "a"],
    &["__proto__", "constructor", "toString"],
    &["hasOwnProperty", "__proto__", "a"],
    &["error", "newListener", "a"],
    &["length", "0", "a"],
    &["1", "01", "1.0"],
    &["null", "undefined", ""],
    &["true", "NaN", "0"],
];

/// What joins a kind and a value, where they are taken for one text.
const JOINTS: [&str; 9] = [":", "/", ".", "-", "|", ",", " ", "\0", ""];

/// Lengths at which something in some implementation ends.
const LENGTHS: [usize; 9] = [0, 1, 7, 15, 31, 63, 127, 255, 1_023];

fn fold(stem: &str, fold: (&str, &str), place: usize) -> Vec<String> {
    let name = |fragment: &str| match place {
        0 => format!("{stem}{fragment}"),
        1 => format!("{fragment}{stem}"),
        _ => format!("{stem}{fragment}{stem}"),
    };
    vec![name(fold.0), name(fold.1)]
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Every fold once: both fragments at the end of a short stem, at its beginning, and alone.
pub(crate) fn families() -> Vec<Vec<String>> {
    let folds = FOLDS.iter().map(|own| {
        let mut names = [fold("n", *own, 0), fold("n", *own, 1), fold("", *own, 0)].concat();
        names.sort();
        names.dedup();
        names
    });
    MEANING.into_iter().map(texts).chain(folds).collect()
}

/// A family by chance, of names of any length.
pub(crate) fn family(rng: &mut Rng) -> Vec<String> {
    if rng.u32(..5) == 0 {
        return texts(MEANING[rng.usize(..MEANING.len())]);
    }
    // Most are short, for a reader's sake.
    let most = if rng.u32(..4) == 0 { LENGTHS.len() } else { 3 };
    let length = LENGTHS[rng.usize(..most)];
    let stem: String = "stem".chars().cycle().take(length).collect();
    fold(&stem, FOLDS[rng.usize(..FOLDS.len())], rng.usize(..3))
}

/// Identities that careless code takes for each other, by their kinds or by what joins those to
/// their values.
pub(crate) fn kinds(rng: &mut Rng) -> Vec<Identity> {
    let kinded = |kind: &str, value: &str| Identity::kinded(kind, value);
    let joint = JOINTS[rng.usize(..JOINTS.len())];
    match rng.u32(..5) {
        0 => vec![
            kinded("a", &format!("b{joint}c")),
            kinded(&format!("a{joint}b"), "c"),
            format!("a{joint}b{joint}c").as_str().into(),
        ],
        1 => vec![kinded("user", "1"), kinded("account", "1"), "1".into()],
        2 => vec![kinded("", "a"), "a".into(), kinded("a", "")],
        3 => family(rng).iter().map(|kind| kinded(kind, "a")).collect(),
        _ => {
            let joined = format!("user{joint}a");
            vec![kinded("user", "a"), "a".into(), joined.as_str().into()]
        }
    }
}
