//! The figures as text.

use crate::results::{Measured, Results, Row};
use crate::stats::Summary;
use std::fmt::Write;

/// All measures as tables in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("# All servers side by side\n\n");
    for (name, value) in &results.machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let _ =
        writeln!(text, "- medians of {} interleaved repeats (least – greatest)", results.repeats);
    text.push_str(
        "\nRatios are to the bare floor of the same round; in bursts, to the batching floor.\n",
    );
    for measured in &results.measures {
        let _ = write!(text, "\n{}", table(measured));
    }
    text
}

fn table(measured: &Measured) -> String {
    let mut text = format!(
        "`{}` {}\n\n| server | {} | ratio |\n|---|---|---|\n",
        measured.case, measured.title, measured.unit
    );
    for row in &measured.rows {
        let (figure, ratio) = cells(row);
        let _ = writeln!(text, "| {} | {figure} | {ratio} |", row.label);
    }
    text
}

fn cells(row: &Row) -> (String, String) {
    match (&row.void, &row.figure) {
        (None, Some(figure)) => {
            (spread(figure), row.ratio.as_ref().map(spread).unwrap_or_default())
        }
        (void, _) => (format!("void: {}", void.as_deref().unwrap_or("not run")), String::new()),
    }
}

fn spread(of: &Summary) -> String {
    format!("{} ({} – {})", number(of.median), number(of.min), number(of.max))
}

/// Three digits are all that a figure of such a machine is good for.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_row_shows_no_figure() {
        let one = Summary { median: 1.0, min: 0.5, max: 123.4 };
        let row = |void: Option<&str>| Row {
            server: "a".into(),
            label: "A".into(),
            figure: Some(one),
            ratio: None,
            void: void.map(str::to_owned),
        };
        assert_eq!(cells(&row(None)).0, "1.00 (0.50 – 123)");
        assert_eq!(cells(&row(Some("3 % lost"))).0, "void: 3 % lost");
    }
}
