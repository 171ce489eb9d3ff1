//! squall-store
