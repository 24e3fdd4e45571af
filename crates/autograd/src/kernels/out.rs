//! Memory that a kernel writes to.

use std::{marker::PhantomData, mem::MaybeUninit};

/// Elements to write to, which several threads may do for parts that lie in one another like columns of rows.
pub(crate) struct Out<'o, T> {
    start: *mut T,
    len: usize,
    memory: PhantomData<&'o mut [T]>,
}

// SAFETY: it is a mutable borrow of its elements.
#[expect(unsafe_code, reason = "a pointer cannot be sent by itself")]
unsafe impl<T: Send> Send for Out<'_, T> {}
// SAFETY: a shared one hands out nothing but its pointer and further ones like itself, which is unsafe.
#[expect(unsafe_code, reason = "a pointer cannot be shared by itself")]
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'o, T> Out<'o, T> {
    /// Elements of which nothing is initialised.
    ///
    /// # Safety
    /// None is read through it that was not written before.
    #[expect(unsafe_code, reason = "memory that is overwritten is not zeroed first")]
    pub(crate) unsafe fn new(elements: &'o mut [MaybeUninit<T>]) -> Self {
        Self {
            start: elements.as_mut_ptr().cast(),
            len: elements.len(),
            memory: PhantomData,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_mut_ptr(&self) -> *mut T {
        self.start
    }

    /// Another way to the elements from that one on.
    ///
    /// # Safety
    /// While it is there, none of them is used through both.
    ///
    /// # Panics
    /// When there are fewer.
    #[expect(unsafe_code, reason = "threads write to different parts of one output")]
    pub(super) unsafe fn after(&self, first: usize) -> Self {
        assert!(first <= self.len);
        Self {
            start: self.start.wrapping_add(first),
            len: self.len - first,
            memory: PhantomData,
        }
    }

    /// The first elements.
    ///
    /// # Panics
    /// When there are fewer.
    pub(super) fn first(&mut self, len: usize) -> &mut [MaybeUninit<T>] {
        assert!(len <= self.len);
        // SAFETY: inside of the memory by the assertion, and ours alone.
        #[expect(unsafe_code, reason = "a slice of what is ours")]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.cast(), len)
        }
    }
}

impl<'o, T> From<&'o mut [T]> for Out<'o, T> {
    fn from(elements: &'o mut [T]) -> Self {
        Self {
            start: elements.as_mut_ptr(),
            len: elements.len(),
            memory: PhantomData,
        }
    }
}
