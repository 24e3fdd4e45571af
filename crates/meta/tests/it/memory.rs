//! The memory of an exact meta-gradient does not grow with the number of inner steps beyond the stored parameters.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use metashot_autograd::{Order, Patterns};
use metashot_meta::{InnerLoop, Memory, task_gradient, unprepared};

use crate::sinusoid::{Wave, start};

/// Counts the bytes that each thread holds, so that tests running beside this one do not disturb it.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts can only be written so"
)]
// SAFETY: every call goes to the system's allocator as it came; counting touches no allocated memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn peak_bytes(steps: usize, order: Order) -> isize {
    let (wave, slow) = (Wave::new(3, 0), start(1, WIDTH));
    let inner = InnerLoop {
        steps,
        lr: 0.01,
        adapt: Patterns::all(),
        order,
        memory: Memory::Flat,
    };
    let before = HELD.get();
    PEAK.set(before);
    task_gradient(
        &slow,
        unprepared,
        |p| wave.support(p),
        |p| wave.query(p),
        &inner,
        &Patterns::all(),
    )
    .unwrap();
    PEAK.get() - before
}

const WIDTH: usize = 64;

#[test]
fn only_the_parameters_grow_with_the_steps() {
    let stored = (start(1, WIDTH).n_elements() * size_of::<f64>()) as isize;
    // Names and tensor headers are stored with the numbers. First order looks back at no step.
    let headers = 4 * 1024;
    for (order, a_step) in [(Order::Higher, stored + headers), (Order::First, headers)] {
        // Kernels get their scratch memory in the first call on a thread and keep it.
        peak_bytes(1, order);
        let (few, many) = (peak_bytes(2, order), peak_bytes(20, order));
        let allowed = 18 * a_step;
        assert!(
            many - few < allowed,
            "{order:?}: 2 steps take {few} bytes, 20 take {many}; allowed are {allowed} more"
        );
    }
}
