//! What whoever runs proxies may want to print.

use std::sync::mpsc::Sender;

/// Something changed that a person would want to read of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A proxy listens.
    Started {
        /// Its name.
        proxy: String,
        /// Where it listens.
        listen: String,
        /// Where it connects to.
        upstream: String,
    },
    /// A proxy listens no longer.
    Stopped {
        /// Its name.
        proxy: String,
        /// Where it listened.
        listen: String,
    },
    /// A toxic or a rule was removed as its time was over.
    Expired {
        /// The proxy's name.
        proxy: String,
        /// The toxic's or the rule's.
        name: String,
    },
}

/// Who is told; nobody by default.
#[derive(Debug, Default)]
pub struct Notices(Option<Sender<Notice>>);

impl Notices {
    /// Told to this channel. It does not matter whether somebody still listens.
    pub fn to(channel: Sender<Notice>) -> Self {
        Self(Some(channel))
    }

    pub(super) fn tell(&self, notice: impl FnOnce() -> Notice) {
        if let Some(channel) = &self.0 {
            let _ = channel.send(notice());
        }
    }
}
