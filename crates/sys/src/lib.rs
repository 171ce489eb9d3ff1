//! squall-sys
