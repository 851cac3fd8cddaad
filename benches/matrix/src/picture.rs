//! The figures as bars: one panel for each measure, one bar for each server, a line from the least
//! to the greatest.

use crate::results::{Measured, Results, Row};
use crate::servers::{DEMO, FLOOR, PORTABLE};
use crate::table::number;
use std::fmt::Write;

const PANEL: f64 = 560.0;
const GAP: f64 = 24.0;
const COLUMNS: usize = 2;
const TITLE: f64 = 34.0;
const BAR: f64 = 22.0;
/// Room for the names, and for the figures behind the bars.
const NAMES: f64 = 140.0;
const FIGURES: f64 = 170.0;

/// The longest bar, in bars of the demo.
const LONGEST: f64 = 6.0;

const STYLE: &str = "<style>text{font:13px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600}\
.quiet{fill:#6e7781}.demo{fill:#0969da}.floor{fill:#8c959f}.other{fill:#c8d1da}.void{fill:#cf222e}\
.range{stroke:#24292f;stroke-width:1.5}</style>";

/// Draws all measures.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut bottoms = [GAP; COLUMNS];
    for measured in &results.measures {
        // Where there is most room left.
        let column = if bottoms[0] <= bottoms[1] { 0 } else { 1 };
        let left = GAP + column as f64 * (PANEL + GAP);
        let _ = write!(
            body,
            "<g transform=\"translate({left},{})\">{}</g>",
            bottoms[column],
            panel(measured)
        );
        bottoms[column] += TITLE + BAR * measured.rows.len() as f64 + GAP;
    }
    let height = bottoms.iter().copied().fold(0.0, f64::max) + 20.0;
    let width = GAP + COLUMNS as f64 * (PANEL + GAP);
    let repeats = results.repeats;
    let note = format!(
        "Medians of {repeats} interleaved repeats; the line goes from the least to the greatest."
    );
    let y = height - 14.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\
         {STYLE}<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{body}\
         <text class=\"quiet\" x=\"{GAP}\" y=\"{y}\">{note}</text></svg>\n"
    )
}

fn panel(measured: &Measured) -> String {
    let figures = measured.rows.iter().filter_map(|row| row.figure);
    let greatest = figures.map(|figure| figure.median).fold(f64::MIN_POSITIVE, f64::max);
    // A bar that is far longer than the demo's is cut, or the demo's could not be seen.
    let demo = measured.rows.iter().find(|row| row.server == DEMO).and_then(|row| row.figure);
    let greatest = demo.map_or(greatest, |demo| greatest.min(demo.median * LONGEST));
    let better = if measured.more_is_better { "more is better" } else { "less is better" };
    let mut text = format!(
        "<text class=\"title\" y=\"12\">{}</text>\
         <text class=\"quiet\" y=\"28\">{}, {better}</text>",
        escape(&measured.title),
        measured.unit
    );
    for (at, row) in measured.rows.iter().enumerate() {
        let top = TITLE + at as f64 * BAR;
        let _ = write!(text, "<g transform=\"translate(0,{top})\">{}</g>", bar(row, greatest));
    }
    text
}

fn bar(row: &Row, greatest: f64) -> String {
    let name = escape(&row.label);
    let mut text =
        format!("<text x=\"{}\" y=\"15\" text-anchor=\"end\">{name}</text>", NAMES - 8.0);
    let Some(figure) = &row.figure else {
        let reason = escape(row.void.as_deref().unwrap_or("not run"));
        let reason: String = reason.chars().take(60).collect();
        let _ = write!(text, "<text class=\"void\" x=\"{NAMES}\" y=\"15\">void: {reason}</text>");
        return text;
    };
    let class = match row.server.as_str() {
        DEMO | PORTABLE => "demo",
        FLOOR => "floor",
        _ => "other",
    };
    let room = PANEL - NAMES - FIGURES;
    // A range that leaves the panel ends at its border: the table has its figures.
    let scale = |value: f64| (value.max(0.0) / greatest * room).min(room + 12.0);
    let width = scale(figure.median).clamp(1.0, room);
    let cut = if figure.median > greatest { "» " } else { "" };
    let (from, to) = (NAMES + scale(figure.min), NAMES + scale(figure.max));
    let ratio = row.ratio.map(|ratio| format!(" · {} ×", number(ratio.median)));
    let ratio = ratio.unwrap_or_default();
    let _ = write!(
        text,
        "<rect class=\"{class}\" x=\"{NAMES}\" y=\"3\" width=\"{width:.1}\" height=\"{}\" \
         rx=\"2\"/>\
         <line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"11\" y2=\"11\"/>\
         <text x=\"{:.1}\" y=\"15\">{cut}{}{ratio}</text>",
        BAR - 6.0,
        (NAMES + width).max(to) + 6.0,
        number(figure.median)
    );
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
