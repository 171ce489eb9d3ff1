//! squall-testkit
