//! E-mail over SMTP (RFC 5321), with STARTTLS (RFC 3207), TLS from the start (RFC 8314) or neither.

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::ResolveError;
use crate::channel::Mistake;
use crate::{Guards, Message, Receipt, SecretRef, SendError, Sending, Severity, Transport};

/// People, by a mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EmailChannel)]
pub struct Email {
    /// Name or address of the server that takes mail.
    pub server: String,
    /// Its port; 587 with STARTTLS, 465 with TLS, 25 with neither, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is kept secret.
    #[serde(default)]
    pub security: Security,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of whoever logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// From whom, such as `Squall <squall@example.org>`.
    pub from: String,
    /// To whom.
    #[schemars(length(min = 1, max = 100))]
    pub to: Vec<String>,
    /// Copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub cc: Vec<String>,
}

/// How a connection to a mail server is kept secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EmailSecurity)]
pub enum Security {
    /// TLS after a greeting in the clear. A server that does not offer it gets no mail.
    #[default]
    StartTls,
    /// TLS from the start.
    Tls,
    /// Not at all. Only without a password.
    None,
}

impl Email {
    pub(crate) fn check(&self, guards: &Guards) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let example = "write it like `somebody@example.org` or `Some Body <somebody@example.org>`";
        if self.from.parse::<Mailbox>().is_err() {
            mistakes.push(Mistake::new("to.email.from", format!("`{}` is not an address", self.from), example));
        }
        let count = self.to.len() + self.cc.len();
        if self.to.is_empty() || count > 100 {
            mistakes.push(Mistake::new("to.email.to", format!("{count} receivers"), "1 to 100 can be named; use a list for more"));
        }
        for (field, addresses) in [("to", &self.to), ("cc", &self.cc)] {
            for (index, address) in addresses.iter().enumerate().filter(|(_, address)| address.parse::<Mailbox>().is_err()) {
                mistakes.push(Mistake::new(format!("to.email.{field}[{index}]"), format!("`{address}` is not an address"), example));
            }
        }
        let host = self.server.trim_matches(['[', ']']);
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            mistakes.push(Mistake::new(
                "to.email.server",
                format!("`{}` is not a server", self.server),
                "write it like `mail.example.org`",
            ));
        } else if let Some(Err(error)) = host.parse().ok().map(|address| guards.reach.check(address)) {
            mistakes.push(Mistake::new("to.email.server", error.to_string(), "use a server elsewhere"));
        }
        if self.user.is_some() != self.password.is_some() {
            mistakes.push(Mistake::new("to.email.password", "a user and a password go together", "give both or neither"));
        } else if self.password.is_some() && self.security == Security::None {
            mistakes.push(Mistake::new("to.email.security", "the password would be sent in the clear", "use `starttls` or `tls`"));
        }
        mistakes
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        })
    }

    pub(crate) async fn send(&self, transport: &Transport, message: &Message, sending: &Sending<'_>) -> Result<Receipt, SendError> {
        let mail = self.mail(message, sending).map_err(SendError::refused)?;
        let host = self.server.trim_matches(['[', ']']);
        let addresses = transport.guards().reach.resolve(host, self.port()).await.map_err(|error| match error {
            ResolveError::Unknown(error) => SendError::again(format!("{host}: {error}")),
            ResolveError::Refused(error) => SendError::refused(error.to_string()),
        })?;
        let tls = match self.security {
            Security::None => None,
            Security::StartTls | Security::Tls => Some(trust(host, transport.roots()).map_err(SendError::again)?),
        };
        let (at_once, later) = if self.security == Security::Tls { (tls, None) } else { (None, tls) };
        let name = ClientId::default();
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(&addresses[..], None, &name, at_once, None).await.map_err(|error| failed(&error))?;
        if let Some(tls) = later {
            connection.starttls(tls, &name).await.map_err(|error| failed(&error))?;
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            let password = transport.secret(password)?;
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(|error| failed(&error))?;
        }
        let answer = connection.send(mail.envelope(), &mail.formatted()).await.map_err(|error| failed(&error))?;
        // The server has it; whether it takes leave politely changes nothing.
        let _ = connection.quit().await;
        let detail = answer.message().collect::<Vec<_>>().join(" ");
        Ok(Receipt { detail, status: answer.code().to_string().parse().ok() })
    }

    fn mail(&self, message: &Message, sending: &Sending<'_>) -> Result<lettre::Message, String> {
        let mailbox = |address: &String| address.parse::<Mailbox>().map_err(|error| format!("`{address}`: {error}"));
        let from = mailbox(&self.from)?;
        let domain = from.email.domain().to_owned();
        // What is about one run stands together in a mail program (RFC 5322, 3.6.4).
        let thread = format!("<{}@{domain}>", sending.notice.subject.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let mut builder = lettre::Message::builder()
            .from(from)
            .subject(&message.title)
            .message_id(Some(format!("<{}@{domain}>", sending.id)))
            .references(thread.clone())
            .in_reply_to(thread)
            .date(std::time::SystemTime::from(sending.notice.at))
            // RFC 3834: no answers from machines.
            .raw_header(raw("Auto-Submitted", "auto-generated"));
        if message.severity >= Severity::Error {
            builder = builder.raw_header(raw("Importance", "high"));
        }
        for address in &self.to {
            builder = builder.to(mailbox(address)?);
        }
        for address in &self.cc {
            builder = builder.cc(mailbox(address)?);
        }
        let parts = MultiPart::alternative()
            .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(text(message)))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(html(message)));
        builder.multipart(parts).map_err(|error| error.to_string())
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn trust(host: &str, roots: &[Vec<u8>]) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    for root in roots {
        builder = builder.add_root_certificate(Certificate::from_pem(root).map_err(|error| error.to_string())?);
    }
    builder.build().map_err(|error| error.to_string())
}

/// 4yz may work later; 5yz never does (RFC 5321, 4.2.1).
fn failed(error: &lettre::transport::smtp::Error) -> SendError {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source()).map(|cause| format!(": {cause}"));
    let reason: String = std::iter::once(error.to_string()).chain(causes).collect();
    let status = error.status().and_then(|code| code.to_string().parse().ok());
    if error.is_permanent() || error.is_client() { SendError::refused(reason) } else { SendError::again(reason) }.with_status(status)
}

fn text(message: &Message) -> String {
    let facts: String = message.facts.iter().map(|fact| format!("{}: {}\n", fact.name, fact.value)).collect();
    let parts = [message.title.as_str(), &message.text, facts.trim_end(), message.url.as_deref().unwrap_or_default()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

fn html(message: &Message) -> String {
    let colour = match message.severity {
        Severity::Info => "#1f6feb",
        Severity::Warning => "#9a6700",
        Severity::Error | Severity::Critical => "#b42318",
    };
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font:15px/1.5 system-ui,sans-serif;max-width:40rem;margin:1rem\">\n\
         <h1 style=\"font-size:1.2rem;border-left:4px solid {colour};padding-left:.6rem\">{title}</h1>\n",
        title = escape(&message.title)
    );
    for paragraph in message.text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        html.push_str(&format!("<p>{}</p>\n", escape(paragraph.trim()).replace('\n', "<br>\n")));
    }
    html.push_str("<table style=\"border-collapse:collapse\">\n");
    for fact in &message.facts {
        let (name, value) = (fact.name, escape(&fact.value));
        html.push_str(&format!(
            "<tr><th scope=\"row\" style=\"text-align:left;padding:.1rem 1rem .1rem 0\">{name}</th><td>{value}</td></tr>\n"
        ));
    }
    html.push_str("</table>\n");
    if let Some(url) = message.url.as_ref().filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        html.push_str(&format!("<p><a href=\"{}\">Read more</a></p>\n", escape(url)));
    }
    html.push_str("</body></html>\n");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Notice, Template};

    fn mail(notice: &Notice) -> String {
        let email = Email {
            server: "mail.example".into(),
            port: None,
            security: Security::StartTls,
            user: None,
            password: None,
            from: "Squall <squall@x.example>".into(),
            to: vec!["a@x.example".into(), "b@x.example".into()],
            cc: vec!["c@x.example".into()],
        };
        let sending = Sending { id: "d1", notice };
        let mail = email.mail(&Message::new(notice, &Template::default()), &sending).expect("a mail");
        String::from_utf8(mail.formatted()).expect("ASCII")
    }

    #[test]
    fn a_mail_has_a_text_and_a_page_and_can_be_told_from_its_copy() {
        let notice = Notice::samples().remove(0);
        let mail = mail(&notice);
        for part in [
            "From: Squall <squall@x.example>",
            "To: a@x.example, b@x.example",
            "Cc: c@x.example",
            "Message-ID: <d1@x.example>",
            "References: <r000000000000@x.example>",
            "Auto-Submitted: auto-generated",
            "multipart/alternative",
            "text/plain",
            "text/html",
        ] {
            assert!(mail.contains(part), "`{part}` is missing in\n{mail}");
        }
    }

    #[test]
    fn what_others_wrote_stays_text() {
        let mut notice = Notice::samples().remove(0);
        notice.reason = Some("<script>alert(1)</script>".into());
        notice.experiment = Some("x\r\nBcc: evil@x.example".into());
        notice.url = Some("javascript:alert(1)".into());
        let message = Message::new(&notice, &Template::default());
        let page = html(&message);
        assert!(!page.contains("<script>") && !page.contains("javascript:"), "{page}");
        assert!(!mail(&notice).lines().any(|line| line.starts_with("Bcc:")));
    }
}
