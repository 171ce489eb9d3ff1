//! Server-sent events, as the link needs them (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

/// The longest event. Far more than any command is.
const LONGEST: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SentEvent {
    pub name: String,
    pub data: String,
}

/// Puts events together from pieces of the stream.
#[derive(Default)]
pub(crate) struct Events {
    rest: Vec<u8>,
}

/// The stream is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the server sends something that is no event of the link")]
pub(crate) struct BadStream;

impl Events {
    /// Takes a piece; gives the events that it completes.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<SentEvent>, BadStream> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.rest[start..].windows(2).position(|two| two == b"\n\n") {
            let text = std::str::from_utf8(&self.rest[start..start + length]).map_err(|_| BadStream)?;
            events.extend(parse(text));
            start += length + 2;
        }
        self.rest.drain(..start);
        if self.rest.len() > LONGEST {
            return Err(BadStream);
        }
        self.rest.shrink_to(4096);
        Ok(events)
    }
}

fn parse(text: &str) -> Option<SentEvent> {
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => data.push(value),
            // An empty field is a comment; the link needs no other fields.
            _ => {}
        }
    }
    (!data.is_empty()).then(|| SentEvent { name, data: data.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_however_they_are_cut() {
        let stream = ": a comment\n\nid: 7\nevent: command\ndata: {\"a\":\ndata: 1}\n\nevent:beat\ndata:{}\n\n";
        let event = |name: &str, data: &str| SentEvent { name: name.into(), data: data.into() };
        for size in 1..=stream.len() {
            let mut events = Events::default();
            let got: Vec<_> = stream.as_bytes().chunks(size).flat_map(|piece| events.push(piece).expect("a good stream")).collect();
            assert_eq!(got, [event("command", "{\"a\":\n1}"), event("beat", "{}")], "in pieces of {size}");
        }
        assert!(Events::default().push(b"data: \xff\n\n").is_err());
    }
}
