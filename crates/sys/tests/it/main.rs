//! What the kernel does when it is asked, in network namespaces of the tests' own.

mod nft;
