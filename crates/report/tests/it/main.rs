//! The four formats of one report, from journals as the engine writes them.

mod fixture;
mod formats;
mod page;
