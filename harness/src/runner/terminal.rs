//! Texts for a terminal.

use std::env::{var, var_os};
use std::io::{IsTerminal, stderr, stdout};

use anstyle::{AnsiColor, Effects, Style};
use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter};

/// Where nothing says how wide a line may be.
const COLUMNS: usize = 80;

/// Narrower than this nothing can be read.
const LEAST_COLUMNS: usize = 40;

/// So much of a line is shown, in bytes.
const LINE_BYTES: usize = 400;

/// So many lines of a message are shown.
const LINES: usize = 30;

/// How a stream is written to.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Whether to use colours.
    pub colours: bool,
    /// How wide lines may be.
    pub columns: usize,
}

impl Paint {
    /// Without colours, and without breaking lines.
    #[must_use]
    pub fn plain() -> Self {
        Self { colours: false, columns: usize::MAX }
    }

    /// As the environment wants it (`NO_COLOR`, `TERM`, `COLUMNS`), and the stream can have it.
    pub(super) fn to(stream: &impl IsTerminal) -> Self {
        let unset = var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let told = var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let columns = told.filter(|columns| *columns > 0).or_else(width);
        Self {
            colours: unset && moves(stream),
            columns: columns.unwrap_or(COLUMNS).max(LEAST_COLUMNS),
        }
    }

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

    /// Breaks the lines of a script or trace, indented by so many spaces.
    pub(super) fn code(&self, by: usize, text: &str) -> String {
        self.indent(by, 6, text)
    }

    /// Breaks a text into lines that fit, but for words that do not. The first begins with `first`,
    /// the others with so many spaces.
    pub(super) fn wrap(&self, first: &str, rest: usize, text: &str) -> String {
        let rest = " ".repeat(rest.min(self.columns / 2));
        textwrap::fill(text, options(self.columns).initial_indent(first).subsequent_indent(&rest))
    }

    /// Breaks each line of a text, indented by so many spaces. What is broken off is indented by
    /// `hang` more.
    pub(super) fn indent(&self, by: usize, hang: usize, text: &str) -> String {
        let line = |line: &str| {
            let own = by + line.len() - line.trim_start().len();
            self.wrap(&" ".repeat(own), own + hang, line.trim_start()) + "\n"
        };
        text.lines().map(line).collect()
    }

    /// Breaks a command so that a shell takes its lines as one.
    pub(super) fn command(&self, first: &str, text: &str) -> String {
        let options = options(self.columns - 2).word_separator(WordSeparator::Custom(shell_words));
        let options = options.initial_indent(first).subsequent_indent("      ");
        textwrap::wrap(text, options).join(" \\\n")
    }
}

fn options(columns: usize) -> Options<'static> {
    Options::new(columns).break_words(false).word_splitter(WordSplitter::NoHyphenation)
}

/// Whether what was written to the stream can be written over.
pub(super) fn moves(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// How wide the terminal is, if there is one.
#[cfg(unix)]
fn width() -> Option<usize> {
    use rustix::termios::tcgetwinsize;
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stderr()));
    size.ok().map(|size| size.ws_col.into()).filter(|columns| *columns > 0)
}

#[cfg(not(unix))]
fn width() -> Option<usize> {
    None
}

/// A text of which long lines, and those after many, are cut.
pub(super) fn cut(text: &str) -> String {
    let short = |line: &str| match line.len() {
        ..=LINE_BYTES => line.to_owned(),
        all => format!("{}… ({all} bytes)", line.chars().take(LINE_BYTES / 2).collect::<String>()),
    };
    let mut lines: Vec<String> = text.lines().take(LINES).map(short).collect();
    let all = text.lines().count();
    if all > LINES {
        lines.push(format!("… ({all} lines)"));
    }
    lines.join("\n")
}

/// The words of a command, of which one in quotes is not broken.
fn shell_words<'a>(line: &'a str) -> Box<dyn Iterator<Item = Word<'a>> + 'a> {
    let (mut quoted, mut escaped) = (false, false);
    let words = line.split_inclusive(move |letter| {
        quoted ^= letter == '\'' && !escaped;
        escaped = letter == '\\' && !quoted;
        letter == ' ' && !quoted
    });
    Box::new(words.map(Word::from))
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
