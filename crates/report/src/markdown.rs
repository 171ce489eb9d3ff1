//! The report as `CommonMark` with tables (GitHub Flavored Markdown).

use askama::Template;

use crate::model::Report;
use crate::view::View;

#[derive(Template)]
#[template(path = "report.md", escape = "none")]
struct Page {
    view: View,
    fence: String,
}

/// Writes the page.
pub(crate) fn page(report: &Report) -> Result<String, askama::Error> {
    let view = View::new(report);
    let fence = fence(&view.manifest);
    let text = Page { view, fence }.render()?;
    Ok(tidy(&text))
}

/// Text that means nothing to Markdown but itself, on one line.
pub(crate) fn md(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Longer than any fence within the text.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(3.max(longest + 1))
}

/// At most one empty line in a row: what the template's branches leave behind.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = true;
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let now = line.trim_end().is_empty();
        if now && empty && !fenced {
            continue;
        }
        out.push_str(if now { "" } else { line.trim_end() });
        out.push('\n');
        empty = now;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(md("a|b <script> [x](y) `c`\nd"), r"a\|b \<script\> \[x\](y) \`c\` d");
        assert_eq!(fence("a ```` b"), "`````");
    }
}
