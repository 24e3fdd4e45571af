//! How the programs of this package keep memory: what is freed stays for the next task.
//!
//! Deliberately not here: the choice of the allocator itself, which is each program's own (`#[global_allocator]`), so
//! that a library user keeps theirs.

/// Number of mimalloc's option `purge_delay`, which its bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells mimalloc to keep what is freed for the next task: what it gave back to the kernel after its default of 10 ms
/// would be cleared again page by page, which took a third of a training step of BERT.
///
/// A program that has another allocator is not changed by it.
pub fn keep_freed_memory() {
    // SAFETY: the option exists in every version of mimalloc 2 and 3, and setting it has no other effect.
    #[expect(unsafe_code, reason = "mimalloc's options are a C interface")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}
