//! What a server keeps under a name: files on the way in, tables on the way out. Schedules, monkeys, policies, experiments and channels
//! share it.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squall_api::client::{Client, escape};
use squall_api::schedules::{Firing, FiringState};
use squall_model::{API_VERSION, Diagnostic, Document, Path, decode};
use squall_report::clean;

use crate::context::{CliError, Context, Output};
use crate::diagnostics;
use crate::remote::{Server, block_on, failed};

/// A kind of document that a server keeps as a text.
#[derive(Debug, Clone, Copy)]
pub struct Saved {
    /// Where it is in the API, such as `schedules`.
    pub path: &'static str,
    /// Its `kind`, such as `Schedule`.
    pub kind: &'static str,
    /// What its text is called in requests and answers.
    pub field: &'static str,
    /// What people call it.
    pub what: &'static str,
}

/// For lists.
#[derive(Debug, clap::Args)]
pub struct Listing {
    #[command(flatten)]
    pub server: Server,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// For what is saved from files.
#[derive(Debug, clap::Args)]
pub struct Apply {
    #[command(flatten)]
    pub server: Server,
    /// The files; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

/// For what is shown.
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    pub server: Server,
    /// Its name
    pub name: String,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// For what is done to one.
#[derive(Debug, clap::Args)]
pub struct Named {
    #[command(flatten)]
    pub server: Server,
    /// Its name
    pub name: String,
}

/// A document in a file.
#[derive(Debug)]
pub struct File {
    source: String,
    document: Document,
}

impl File {
    /// Reads a file, or standard input (`-`), which has to be a document of this kind.
    pub fn read(source: &str, kind: &str) -> anyhow::Result<Self> {
        let read = if source == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(source) };
        let hint = || Some("give the path of a file, or `-` for standard input".to_owned());
        let text = read.map_err(|e| CliError::usage(format!("{source} cannot be read: {e}"), hint()))?;
        let document = Document::parse(&text).map_err(|found| diagnostics::error(source, &text, found))?;
        let file = Self { source: source.to_owned(), document };
        let root = Path::default();
        for (key, expected) in [("apiVersion", API_VERSION), ("kind", kind)] {
            let hint = Some(format!("write `{key}: {expected}`"));
            match file.document.value.get(key).map(Value::as_str) {
                Some(Some(is)) if is == expected => {}
                Some(is) => {
                    let is = is.map_or("something else".to_owned(), |is| format!("`{is}`"));
                    return Err(file.wrong(file.document.at(&root.key(key), format!("`{key}` is {is}, not `{expected}`"), hint)));
                }
                None => return Err(file.wrong(file.document.at(&root, format!("`{key}` is missing"), hint))),
            }
        }
        Ok(file)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.document.text
    }

    /// `metadata.name`.
    pub fn name(&self) -> anyhow::Result<&str> {
        let path = Path::default().key("metadata").key("name");
        let name = self.document.value.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
        name.ok_or_else(|| {
            self.wrong(self.document.at(&path, "`metadata.name` is missing", Some("write `metadata: { name: … }`".to_owned())))
        })
    }

    /// As a type, or all that does not fit it.
    pub fn decode<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let decoded = decode::<T>(&self.document.value, "the document");
        let found: Vec<Diagnostic> = decoded.problems.iter().map(|problem| problem.locate(&self.document, &Path::default())).collect();
        match decoded.value {
            Some(value) if found.is_empty() => Ok(value),
            _ => Err(diagnostics::error(&self.source, self.text(), found).into()),
        }
    }

    fn wrong(&self, diagnostic: Diagnostic) -> anyhow::Error {
        diagnostics::error(&self.source, self.text(), vec![diagnostic]).into()
    }
}

impl Saved {
    /// Where one of them is.
    pub fn at(&self, name: &str) -> String {
        format!("{}/{}", self.path, escape(name))
    }

    /// Saves files. All are read before the first is saved.
    pub fn apply(&self, args: &Apply, cx: &Context) -> anyhow::Result<()> {
        let files = args.files.iter().map(|source| File::read(source, self.kind)).collect::<anyhow::Result<Vec<_>>>()?;
        let names = files.iter().map(File::name).collect::<anyhow::Result<Vec<_>>>()?;
        let client = args.server.client()?;
        block_on(async {
            for (file, name) in files.iter().zip(names) {
                let _: Value = client.put(&self.at(name), &json!({ (self.field): file.text() })).await.map_err(failed)?;
                cx.say(format!("saved {} `{name}`", self.what))?;
            }
            Ok(())
        })
    }

    /// Prints the text of one, or all that is known of it.
    pub fn show(&self, args: &Show, cx: &Context) -> anyhow::Result<()> {
        let client = args.server.client()?;
        let known: Value = block_on(async { client.get(&self.at(&args.name)).await.map_err(failed) })?;
        match (args.output, known[self.field].as_str()) {
            (Output::Text, Some(text)) => cx.result(text.trim_end()),
            _ => cx.json(&known),
        }
    }

    /// Removes one.
    pub fn remove(&self, args: &Named, cx: &Context) -> anyhow::Result<()> {
        let client = args.server.client()?;
        block_on(async { client.delete(&self.at(&args.name)).await.map_err(failed) })?;
        cx.say(format!("removed {} `{}`", self.what, args.name))
    }

    /// Prints what became of the times of one, the newest first.
    pub fn history(&self, args: &Show, cx: &Context) -> anyhow::Result<()> {
        let client = args.server.client()?;
        let path = format!("{}/history", self.at(&args.name));
        let page: squall_api::Page<Firing> = block_on(async { client.get(&path).await.map_err(failed) })?;
        list(cx, args.output, &page.items, "nothing was due yet", |firing| {
            let run = firing.run.as_ref().map(ToString::to_string).unwrap_or_default();
            let whom = [&firing.group, &firing.host].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
            vec![minute(firing.due), became(firing.state).to_owned(), run, whom, firing.detail.clone()]
        })
    }
}

fn became(state: FiringState) -> &'static str {
    match state {
        FiringState::Waiting => "waiting",
        FiringState::Started => "started",
        FiringState::Refused => "refused",
        FiringState::Skipped => "skipped",
        FiringState::Missed => "missed",
        FiringState::Leashed => "leashed",
    }
}

/// Every item of a list of the API.
pub async fn all<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<Vec<T>> {
    client.pages::<T>(path, 200).all().await.map_err(failed)
}

/// Prints a list: for scripts as JSON, for people in columns.
pub fn list<T: serde::Serialize>(
    cx: &Context,
    output: Output,
    items: &[T],
    none: &str,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if output == Output::Json {
        return cx.json(&items);
    }
    if items.is_empty() {
        return cx.say(none);
    }
    columns(items.iter().map(row).collect()).iter().try_for_each(|line| cx.result(line))
}

/// Rows in columns. A column in which nobody has anything is left out.
pub fn columns(mut rows: Vec<Vec<String>>) -> Vec<String> {
    rows.iter_mut().flatten().for_each(|cell| *cell = clean(&cell.replace('\n', " ")));
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count).map(wide).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).filter(|(_, width)| **width > 0);
        cells.map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A moment, to the minute.
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A word of the API from the command line, such as `P1`.
pub fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|e| e.to_string())
}

/// A query from those of its fields that are set.
pub fn query(fields: &[(&str, Option<&str>)]) -> String {
    let set: Vec<String> = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", escape((*value)?)))).collect();
    if set.is_empty() { String::new() } else { format!("?{}", set.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be_and_empty_ones_are_left_out() {
        let rows = [["a", "", "bcd"], ["long", "", "e"]].map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(columns(rows), ["a     bcd", "long  e"]);
        assert_eq!(columns(vec![vec!["\x1b[31mred\nx".to_owned()]]), columns(vec![vec!["\x1b[31mred x".to_owned()]]));
        assert!(!columns(vec![vec!["\x1b[31m".to_owned()]])[0].contains('\x1b'));
    }

    #[test]
    fn a_document_of_another_kind_is_told_with_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            File::read(path.to_str().expect("UTF-8"), "Schedule").map(|file| file.name().map(str::to_owned).map_err(|e| e.to_string()))
        };
        let wrong = read("apiVersion: squall.dev/v1\nkind: Monkey\n").expect_err("refused").to_string();
        assert!(wrong.contains(":2:7: `kind` is `Monkey`, not `Schedule`"), "{wrong}");
        let missing = read("apiVersion: squall.dev/v1\n").expect_err("refused").to_string();
        assert!(missing.contains("`kind` is missing"), "{missing}");
        let nameless = read("apiVersion: squall.dev/v1\nkind: Schedule\n").expect("read").expect_err("refused");
        assert!(nameless.contains("`metadata.name` is missing"), "{nameless}");
        assert_eq!(read("apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: x }\n").expect("read"), Ok("x".to_owned()));
    }

    #[test]
    fn a_query_has_what_is_set() {
        assert_eq!(query(&[("a", None), ("b", None)]), "");
        assert_eq!(query(&[("a", Some("x y")), ("b", None), ("c", Some("1"))]), "?a=x%20y&c=1");
    }
}
