//! Pictures of figures: plain bars as SVG, readable on light and dark pages and by whoever has them read
//! out. Whoever is measured for the page's sake stands out by weight, not by colour alone.

use std::fmt::Write as _;
use std::path::Path;

use crate::Result;

const WIDTH: usize = 760;
const LABELS: usize = 220;
const ROW: usize = 24;
const TOP: usize = 44;
/// Room behind a bar, for its figure.
const FIGURES: usize = 110;
const STYLE: &str = "text{font:13px system-ui,sans-serif}.g{fill:#fff}.w{fill:#1f2328}.b{fill:#7488a3}.o{fill:#0b6e4f}\
    .t,.u{font-weight:700}@media(prefers-color-scheme:dark){.g{fill:#1b1f24}.w{fill:#e6e9ed}.b{fill:#8fa3bd}.o{fill:#4cc38a}}";

/// A picture.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Of its file, without `.svg`.
    pub name: &'static str,
    pub title: String,
    pub bars: Vec<Bar>,
}

/// A server's figure.
#[derive(Debug)]
pub(crate) struct Bar {
    pub label: String,
    pub value: f64,
    /// The figure with its unit.
    pub text: String,
}

impl Plot {
    /// The bars of whoever has a figure, which `text` writes.
    pub(crate) fn new<'a>(
        name: &'static str,
        title: impl Into<String>,
        figures: impl IntoIterator<Item = (&'a str, f64)>,
        text: impl Fn(f64) -> String,
    ) -> Self {
        let bars = figures
            .into_iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(label, value)| Bar { label: label.to_owned(), value, text: text(value) });
        Self { name, title: title.into(), bars: bars.collect() }
    }

    /// Writes it into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        Ok(std::fs::write(folder.join(format!("{}.svg", self.name)), self.svg()?)?)
    }

    fn svg(&self) -> Result<String> {
        let height = TOP + ROW * self.bars.len() + 12;
        let largest = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(u32::try_from(WIDTH - LABELS - FIGURES)?);
        let title = escaped(&self.title);
        let read_out: Vec<String> =
            self.bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
             aria-labelledby=\"title figures\">\n<title id=\"title\">{title}</title>\n<desc id=\"figures\">{}</desc>\n\
             <style>{STYLE}</style>\n<rect class=\"g\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
             <text class=\"w t\" x=\"16\" y=\"26\">{title}</text>\n",
            escaped(&read_out.join("; ")),
        );
        for (at, bar) in self.bars.iter().enumerate() {
            let (top, text_at) = (TOP + ROW * at, TOP + ROW * at + 15);
            let length = (bar.value / largest * room).max(1.0);
            let figure_at = f64::from(u32::try_from(LABELS)?) + length + 8.0;
            let (weight, fill) =
                if bar.label.starts_with("sekisho") { (" u", "o") } else { ("", "b") };
            writeln!(
                svg,
                "<text class=\"w{weight}\" x=\"{}\" y=\"{text_at}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{fill}\" x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"16\"/>\
                 <text class=\"w{weight}\" x=\"{figure_at:.1}\" y=\"{text_at}\">{}</text>",
                LABELS - 8,
                escaped(&bar.label),
                top + 2,
                escaped(&bar.text),
            )?;
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "")
}

/// A number as people write large ones.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
