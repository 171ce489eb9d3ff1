//! The shop's books, an append-only file with one JSON object a line: `POST /entries`, `GET /stats`.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::{App, Call, Reply};
use crate::timing::work;

/// The ledger service.
pub struct Ledger(Mutex<Books>);

struct Books {
    file: File,
    entries: u64,
    orders: HashSet<String>,
}

impl Ledger {
    /// Opens the books, and counts what they hold already.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let (mut entries, mut orders) = (0, HashSet::new());
        for line in BufReader::new(&file).lines() {
            // Half a line at the end is an entry whose writer was killed; nobody was told that it is there.
            let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
            entries += 1;
            orders.insert(entry["order"].as_str().unwrap_or_default().to_owned());
        }
        Ok(Self(Mutex::new(Books { file, entries, orders })))
    }

    fn append(&self, entry: &Value) -> io::Result<u64> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.file.write_all(format!("{entry}\n").as_bytes())?;
        books.entries += 1;
        books.orders.insert(entry["order"].as_str().unwrap_or_default().to_owned());
        Ok(books.entries)
    }

    fn stats(&self) -> Value {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = books.orders.len() as u64;
        json!({ "entries": books.entries, "orders": orders, "chargedAgain": books.entries - orders })
    }
}

impl App for Ledger {
    async fn answer(&self, call: Call) -> Reply {
        match (&call.method, call.path.as_str()) {
            (&Method::POST, "/entries") => {
                let entry = json!({ "order": call.json["order"], "amount": call.json["amount"] });
                work(Duration::from_millis(1), 0).await;
                match self.append(&entry) {
                    Ok(number) => Reply::ok(json!({ "entry": number })),
                    Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
                }
            }
            (&Method::GET, "/stats") => Reply::ok(self.stats()),
            _ => Reply::not_found(),
        }
    }
}
