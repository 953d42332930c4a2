//! Signed identities that a client's hook writes.
