//! What can go wrong with a table, and what to do about it.

use std::io;

use rustix::io::Errno;

/// A table could not be made, changed or removed. Nothing of the transaction is in force.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The kernel does not let this process talk to netfilter at all.
    #[error("a netlink socket to netfilter cannot be opened: {0}; the kernel needs CONFIG_NETFILTER_NETLINK")]
    Socket(io::Error),
    /// The table contradicts itself. Nothing was sent.
    #[error("{what} of the table `{table}` {why}")]
    Invalid {
        /// The table's name.
        table: String,
        /// The part that is wrong.
        what: String,
        /// In what way, and what would be right.
        why: String,
    },
    /// The kernel refused it.
    #[error("the kernel refused {what} of the table `{table}`: {source}; {hint}")]
    Refused {
        /// The table's name.
        table: String,
        /// The part that the kernel stumbled over.
        what: String,
        /// Its answer.
        source: io::Error,
        /// The next step.
        hint: String,
    },
}

impl NftError {
    /// The kernel's error number, where it was the kernel.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(error) | Self::Refused { source: error, .. } => error.raw_os_error(),
            Self::Invalid { .. } => None,
        }
    }

    pub(super) fn refused(table: &str, part: &Part, source: io::Error) -> Self {
        let hint = part.hint(&source);
        Self::Refused { table: table.to_owned(), what: part.to_string(), source, hint }
    }
}

/// What a message of a transaction is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Transaction,
    Table,
    Removal,
    Set(String),
    Chain { name: String, needs: Vec<&'static str> },
    Rule { chain: String, comment: String, needs: Vec<&'static str> },
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transaction => f.write_str("the transaction"),
            Self::Table => f.write_str("the creation"),
            Self::Removal => f.write_str("the removal"),
            Self::Set(name) => write!(f, "the set `{name}`"),
            Self::Chain { name, .. } => write!(f, "the chain `{name}`"),
            Self::Rule { chain, comment, .. } => write!(f, "the rule \"{comment}\" in the chain `{chain}`"),
        }
    }
}

impl Part {
    fn hint(&self, error: &io::Error) -> String {
        let errno = Errno::from_io_error(error);
        match (self, errno) {
            (Self::Transaction, Some(Errno::PERM)) => "run it as root, or with CAP_NET_ADMIN".into(),
            (Self::Transaction, Some(Errno::OPNOTSUPP | Errno::INVAL)) => {
                "the kernel has no nf_tables (CONFIG_NF_TABLES, module nf_tables)".into()
            }
            (Self::Transaction, Some(Errno::AGAIN)) => "it did not answer within 5 seconds; is another program holding nf_tables?".into(),
            (Self::Table, Some(Errno::EXIST)) => {
                "a table with that name is there already; `squall recover` removes what is left behind".into()
            }
            (Self::Table, Some(Errno::OPNOTSUPP | Errno::INVAL)) => {
                "tables of the family inet that a process owns need CONFIG_NF_TABLES_INET and Linux 5.12".into()
            }
            (Self::Table, Some(Errno::PERM)) => {
                "a table with that name is there already, and another process owns it; `squall recover` ends it".into()
            }
            (Self::Removal | Self::Set(_), Some(Errno::PERM)) => "another process owns that table; end that process".into(),
            (Self::Chain { needs, .. } | Self::Rule { needs, .. }, Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT))
                if !needs.is_empty() =>
            {
                format!("the kernel needs {}; `modprobe` it, or take another backend (`squall doctor`)", needs.join(" and "))
            }
            (_, Some(Errno::NOMEM | Errno::NOBUFS)) => "the kernel is short of memory for it; make the scope smaller".into(),
            _ => "`squall doctor` says what this kernel has".into(),
        }
    }
}
