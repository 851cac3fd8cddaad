//! Names that careless code takes for each other, or for something else.

use crate::script::Identity;

/// Names that mean something in some host language.
pub(super) const MAGIC: [&str; 13] = [
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "error",
    "newListener",
    "length",
    "null",
    "undefined",
    "true",
    "NaN",
    "1",
    "01",
];

/// What a subscribe or broadcast that fails for this name breaks, unless the name is ordinary.
pub(super) fn odd(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("FLT-4")
    } else if MAGIC.contains(&name) {
        Some("FLT-6")
    } else {
        (!plain(name)).then_some("FLT-5")
    }
}

/// Ordinary: ASCII letters and digits, none of them upper case.
pub(super) fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Different names that a normalising comparison could take for one.
pub(super) fn near(a: &str, b: &str) -> bool {
    let same = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
        a.zip(b).take(32).all(|(a, b)| a == b)
    };
    let alike =
        same(&mut a.bytes(), &mut b.bytes()) || same(&mut a.bytes().rev(), &mut b.bytes().rev());
    let same_part = a.len().min(b.len()) > 32 && alike;
    let one_number = matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b);
    let similar = a.starts_with(b) || b.starts_with(a) || same_part || one_number;
    a != b && (similar || a.eq_ignore_ascii_case(b) || a.trim() == b.trim())
}

/// Different identities that a careless comparison of values, or of kinds, could take for one.
pub(super) fn similar(a: &Identity, b: &Identity) -> bool {
    let confusable = |a: &str, b: &str| near(a, b) || (a != b && (!plain(a) || !plain(b)));
    let (values, kinds) = (confusable(a.value(), b.value()), similar_kinds(a, b));
    (a.kind() == b.kind() && values) || (kinds && (values || a.value() == b.value()))
}

/// Kinds that are written alike, and are not equal.
pub(super) fn similar_kinds(a: &Identity, b: &Identity) -> bool {
    let (Some(a), Some(b)) = (a.kind(), b.kind()) else { return false };
    let folded = |kind: &str| kind.trim().to_lowercase();
    a != b
        && !a.is_empty()
        && !b.is_empty()
        && (folded(a) == folded(b) || (!a.is_ascii() && !b.is_ascii()))
}

/// An identity as a careless implementation would write it into one string.
pub(super) fn joined(identity: &Identity) -> String {
    let all = format!("{}{}", identity.kind().unwrap_or_default(), identity.value());
    all.chars().filter(|letter| letter.is_alphanumeric()).collect()
}
