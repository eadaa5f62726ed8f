//! What must not compile: each file of `ui/` is refused by the compiler with the words stored beside it.
//!
//! Clause S7, the scopes of an arena, and what a guard or a kernel must not keep. After a deliberate change run it
//! with `TRYBUILD=overwrite` and read the difference.

#[test]
fn s7_misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
