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

/// Tells Linux to give this process no pages of 2 MB from now on: a buffer takes the memory that it is written to and no
/// more, which tagging wants, whose buffers are many and small.
///
/// Does nothing on other systems.
pub fn keep_pages_small() {
    // SAFETY: this option of `prctl` takes numbers and touches no memory of the process; where the kernel does not know
    // it, nothing happens.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a call of the system")]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}
