//! Names and payloads in messages.

/// How much of a long name or payload is shown, in bytes.
const SHOWN: usize = 40;

/// A name or payload in quotes, cut short.
pub(crate) fn short(text: &str) -> String {
    shorter_than(SHOWN, text)
}

/// A text in quotes. If it has more bytes than `shown`, only its head, its last letters and its
/// length are shown.
pub(crate) fn shorter_than(shown: usize, text: &str) -> String {
    if text.len() <= shown {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(shown / 2).collect();
    let from = text.char_indices().rev().nth(3).map_or(0, |(from, _)| from);
    let tail = &text[from..];
    format!("{head:?}…{tail:?} ({} bytes)", text.len())
}
