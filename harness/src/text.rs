//! Names and payloads in messages.

/// How much of a long name or payload is shown, in bytes.
const SHOWN: usize = 40;

/// A name or payload in quotes, cut short.
pub(crate) fn short(text: &str) -> String {
    if text.len() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN / 2).collect();
    let from = text.char_indices().rev().nth(3).map_or(0, |(from, _)| from);
    let tail = &text[from..];
    format!("{head:?}…{tail:?} ({} bytes)", text.len())
}
