//! Texts for a terminal.

use anstyle::{AnsiColor, Effects, Style};
use textwrap::{Options, WordSplitter};

/// Colours, if they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Whether to use them.
    pub colours: bool,
}

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Good.
    #[must_use]
    pub fn green(&self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// Bad.
    #[must_use]
    pub fn red(&self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default() | Effects::BOLD, text)
    }

    /// Doubtful.
    #[must_use]
    pub fn yellow(&self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    /// Important.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.with(Style::new() | Effects::BOLD, text)
    }
}

/// Breaks a text into lines of at most 100 characters, which begin with so many spaces.
#[must_use]
pub fn wrap(text: &str, spaces: usize) -> String {
    let indent = " ".repeat(spaces);
    let options = Options::new(100).initial_indent(&indent).subsequent_indent(&indent);
    let splitter = WordSplitter::NoHyphenation;
    textwrap::fill(text, options.break_words(false).word_splitter(splitter))
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+=:,./@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
