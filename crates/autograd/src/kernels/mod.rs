//! CPU kernels in `f32` and `f64`, and access to the numbers of a candle tensor.
//!
//! A kernel runs on the calling thread, and on those of its pool that have nothing to do (`share`): parallelism belongs to
//! whoever owns independent tasks. The number of threads never changes a bit. Deliberately not here: gradients and graphs.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined is compiled with the vector instructions of its caller"
)]

pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod gelu;
mod indirect;
pub(crate) mod layer_norm;
pub(crate) mod matmul;
mod out;
pub(crate) mod product;
pub(crate) mod reduce;
mod share;
pub(crate) mod softmax;
mod tile;
pub(crate) mod vector;

use std::{cell::Cell, mem::MaybeUninit};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor, WithDType};

use indirect::Indirect;
use matmul::Product;
use out::Out;

use crate::error::Result;

/// The element types that have kernels.
pub(crate) trait Float:
    WithDType
    + PartialOrd
    + Default
    + Send
    + Sync
    + std::iter::Sum
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + std::ops::DivAssign
{
    fn of(x: f64) -> Self;
    fn exp_(self) -> Self;
    fn erf_(self) -> Self;
    fn sqrt_(self) -> Self;
    /// The kernel behind [`Indirect::compute`]; writes to all of the output.
    fn indirect(job: Indirect<'_, Self>, out: &mut [MaybeUninit<Self>]);
    /// Computes a product by a kernel of its own if there is a good one for it, and says whether it did.
    fn product(job: &Product<'_, Self>, dst: &mut Out<'_, Self>) -> bool;
    /// [`product::by_shuffles`], or `false` where there is no such thing.
    #[inline(always)]
    fn turn_block(
        _from: &[Self],
        _line: usize,
        _there: (usize, usize),
        _width: usize,
        _out: &mut [MaybeUninit<Self>],
    ) -> bool {
        false
    }
}

impl Float for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }
    #[inline(always)]
    fn exp_(self) -> Self {
        gelu::exp_f32(self)
    }
    #[inline(always)]
    fn erf_(self) -> Self {
        gelu::erf_f32(self)
    }
    #[inline(always)]
    fn sqrt_(self) -> Self {
        self.sqrt()
    }
    fn indirect(job: Indirect<'_, Self>, out: &mut [MaybeUninit<Self>]) {
        indirect::tiled(job, out);
    }
    fn product(job: &Product<'_, Self>, dst: &mut Out<'_, Self>) -> bool {
        product::tiled(job, dst)
    }
    #[inline(always)]
    fn turn_block(
        from: &[Self],
        line: usize,
        there: (usize, usize),
        width: usize,
        out: &mut [MaybeUninit<Self>],
    ) -> bool {
        product::by_shuffles(from, line, there, width, out)
    }
}

impl Float for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn exp_(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn erf_(self) -> Self {
        libm::erf(self)
    }
    #[inline(always)]
    fn sqrt_(self) -> Self {
        self.sqrt()
    }
    fn indirect(job: Indirect<'_, Self>, out: &mut [MaybeUninit<Self>]) {
        indirect::plain(job, out);
    }
    fn product(_: &Product<'_, Self>, _: &mut Out<'_, Self>) -> bool {
        false
    }
}

/// Whether kernels can work on this tensor.
pub(crate) fn on_host(tensor: &Tensor) -> bool {
    matches!(tensor.device(), Device::Cpu)
        && matches!(tensor.dtype(), DType::F32 | DType::F64)
        && !LEFT_OUT.get()
}

thread_local! {
    /// See [`without`].
    static LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with no kernel on this thread, as on a device that has none.
pub(crate) fn without<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT_OUT.set(self.0);
        }
    }
    let _restore = Restore(LEFT_OUT.replace(true));
    f()
}

/// Runs an expression with `$t` standing for the element type of a tensor that is [`on_host`].
macro_rules! for_float {
    ($tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            _ => {
                type $t = f32;
                $body
            }
        }
    };
}
pub(crate) use for_float;

/// Hands the elements of CPU tensors to `f`, row-major; a tensor that is not laid out so is copied first.
pub(crate) fn with_slices<T: Float, const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[T]; N]) -> R,
) -> Result<R> {
    let mut dense: [Option<Tensor>; N] = [const { None }; N];
    for (slot, tensor) in dense.iter_mut().zip(tensors) {
        *slot = Some(tensor.contiguous()?);
    }
    let dense = dense
        .each_ref()
        .map(|tensor| tensor.as_ref().expect("filled above"));
    let views = dense.map(Tensor::storage_and_layout);
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&views) {
        let all = host_slice::<T>(storage)?;
        *slice = &all[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()];
    }
    Ok(f(slices))
}

/// [`with_slices`] for any number of tensors.
pub(crate) fn with_all_slices<T: Float, R>(
    tensors: &[&Tensor],
    f: impl FnOnce(&[&[T]]) -> R,
) -> Result<R> {
    let dense = tensors
        .iter()
        .map(|tensor| Ok(tensor.contiguous()?))
        .collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = dense.iter().map(Tensor::storage_and_layout).collect();
    let slices = views
        .iter()
        .map(|(storage, layout)| {
            let all = host_slice::<T>(storage)?;
            Ok(&all[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()])
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(f(&slices))
}

/// [`with_slices`] for tensors that need not be there.
pub(crate) fn with_optional_slices<T: Float, const N: usize, R>(
    tensors: [Option<&Tensor>; N],
    f: impl FnOnce([Option<&[T]>; N]) -> R,
) -> Result<R> {
    let there: Vec<&Tensor> = tensors.into_iter().flatten().collect();
    with_all_slices(&there, |slices| {
        let mut slices = slices.iter().copied();
        f(tensors.map(|tensor| tensor.and_then(|_| slices.next())))
    })
}

/// Whether a tensor is one row that leading axes only repeat.
pub(crate) fn repeats_a_row(tensor: &Tensor) -> bool {
    let (dims, strides) = (tensor.dims(), tensor.stride());
    let leading = dims.len().saturating_sub(1);
    !tensor.is_contiguous()
        && strides[..leading].iter().all(|&stride| stride == 0)
        && strides[leading..] == [1]
}

/// The row that [`repeats_a_row`] speaks of.
pub(crate) fn first_row(tensor: &Tensor) -> Result<Tensor> {
    let mut row = tensor.clone();
    while row.rank() > 1 {
        row = row.get(0)?;
    }
    Ok(row)
}

/// Hands the bytes of a row-major CPU tensor of `u8` to `f`.
pub(crate) fn with_bytes<R>(tensor: &Tensor, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    let (storage, _) = tensor.storage_and_layout();
    f(host_slice::<u8>(&storage)?)
}

/// The elements behind CPU storage.
pub(crate) fn host_slice<T: WithDType>(storage: &Storage) -> Result<&[T]> {
    match storage {
        Storage::Cpu(storage) => Ok(CpuStorage::as_slice::<T>(storage)?),
        _ => Err(
            candle_core::Error::Msg("a CPU kernel got a tensor of another device".into()).into(),
        ),
    }
}

/// A CPU tensor from its elements, row-major.
pub(crate) fn tensor<T: Float>(elements: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(elements, dims, &Device::Cpu)?)
}

/// A vector of `n` elements, all of which `fill` writes: memory that is overwritten as a whole is not zeroed first.
#[inline(always)]
pub(crate) fn filled<T: Float>(n: usize, fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut elements = Vec::new();
    refill(&mut elements, n, fill);
    elements
}

/// [`filled`] in the memory of a vector that has served.
#[inline(always)]
pub(crate) fn refill<T: Float>(
    elements: &mut Vec<T>,
    n: usize,
    fill: impl FnOnce(&mut [MaybeUninit<T>]),
) {
    elements.clear();
    elements.reserve_exact(n);
    fill(&mut elements.spare_capacity_mut()[..n]);
    // SAFETY: the capacity is at least `n`. Every caller in `kernels` writes each of the `n` elements on every path; a
    // panic in `fill` leaves the vector empty.
    #[expect(
        unsafe_code,
        reason = "the compiler cannot see that all elements are written"
    )]
    unsafe {
        elements.set_len(n);
    }
}

/// [`filled`] for several vectors of one length, of which threads may write different parts.
pub(crate) fn filled_all<T: Float, const N: usize>(
    n: usize,
    fill: impl FnOnce([Out<'_, T>; N]),
) -> [Vec<T>; N] {
    let mut all = [const { Vec::new() }; N];
    for elements in &mut all {
        elements.reserve_exact(n);
    }
    // SAFETY: as for `filled`; what is read of an output was written before.
    #[expect(
        unsafe_code,
        reason = "the compiler cannot see that all elements are written"
    )]
    unsafe {
        fill(
            all.each_mut()
                .map(|elements| Out::new(&mut elements.spare_capacity_mut()[..n])),
        );
        for elements in &mut all {
            elements.set_len(n);
        }
    }
    all
}

/// Evaluates an expression compiled for the best vector instructions of the machine it runs on.
///
/// A macro, because the expression must be inlined into the function that has those instructions: what is left as a
/// call of its own is compiled without them. The attribute binds the closure's body, which is what gets called only
/// if the closure can be called no more than once; moving `once` into it sees to that.
macro_rules! vectorized {
    ($body:expr) => {{
        let once = crate::kernels::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _moved = once;
                $body
            },
        )
    }};
}
pub(crate) use vectorized;

/// Something that cannot be copied: see [`vectorized`].
pub(crate) struct Once;
