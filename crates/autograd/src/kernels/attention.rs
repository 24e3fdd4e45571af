//! Scaled dot-product attention over sentences that lie one after another, without padding between them.
//!
//! For one sentence and head, with `s = 1 / sqrt(head size)`: `P = softmax(s q k^T)` and `out = P v`. Not here:
//! the projections before and after it.

use super::{
    Float,
    layer_norm::dot,
    matmul::{Mat, Product, Start},
    softmax, vectorized,
};

/// How the rows and columns of `(tokens, hidden)` divide into sentences and heads.
#[derive(Clone, Copy)]
pub(crate) struct Tiling<'a> {
    pub(crate) lengths: &'a [usize],
    pub(crate) n_heads: usize,
    pub(crate) hidden: usize,
}

/// One sentence and head.
#[derive(Clone, Copy)]
struct Tile {
    len: usize,
    size: usize,
    hidden: usize,
    /// Where it starts in `(tokens, hidden)`.
    start: usize,
    /// Where its probabilities start.
    square: usize,
}

impl<'a> Tiling<'a> {
    /// How many probabilities there are.
    pub(crate) fn n_probabilities(self) -> usize {
        self.lengths
            .iter()
            .map(|len| len * len * self.n_heads)
            .sum()
    }

    fn scale<T: Float>(self) -> T {
        T::of(1.0 / ((self.hidden / self.n_heads) as f64).sqrt())
    }

    fn tiles(self) -> impl Iterator<Item = Tile> + 'a {
        let size = self.hidden / self.n_heads;
        let (mut row, mut square) = (0, 0);
        self.lengths.iter().flat_map(move |&len| {
            let (first_row, first_square) = (row, square);
            row += len;
            square += len * len * self.n_heads;
            (0..self.n_heads).map(move |head| Tile {
                len,
                size,
                hidden: self.hidden,
                start: first_row * self.hidden + head * size,
                square: first_square + head * len * len,
            })
        })
    }
}

impl Tile {
    fn of<T>(self, data: &[T]) -> Mat<'_, T> {
        Mat {
            data,
            start: self.start,
            row: self.hidden,
            col: 1,
        }
    }

    fn probabilities<T>(self, data: &[T]) -> Mat<'_, T> {
        Mat::rows(data, self.square, self.len)
    }

    /// `square = start + scale * a b^T` for two tiles.
    fn outer<T: Float>(
        self,
        square: &mut [T],
        start: Start<'_, T>,
        scale: T,
        a: Mat<'_, T>,
        b: Mat<'_, T>,
    ) {
        Product {
            shape: (self.len, self.len, self.size),
            start,
            scale,
            a,
            b: b.t(),
            dst_row: self.len,
        }
        .write_to(square);
    }

    /// `square b` for a tile of an output.
    fn inner<'a, T: Float>(self, square: Mat<'a, T>, b: Mat<'a, T>) -> Product<'a, T> {
        Product {
            shape: (self.len, self.size, self.len),
            start: Start::Zero,
            scale: T::of(1.0),
            a: square,
            b,
            dst_row: self.hidden,
        }
    }

    /// `out += scale * square b` for a tile of `out`.
    fn apply<T: Float>(self, out: &mut [T], scale: T, square: Mat<'_, T>, b: Mat<'_, T>) {
        let product = self.inner(square, b);
        let start = Start::Output;
        Product {
            start,
            scale,
            ..product
        }
        .write_to(&mut out[self.start..]);
    }

    /// The probabilities, and with them this tile of the output.
    fn attend<T: Float>(self, [q, k, v]: [&[T]; 3], scale: T, square: &mut [T], out: &mut [T]) {
        self.outer(square, Start::Zero, scale, self.of(q), self.of(k));
        vectorized!(softmax::rows(square, self.len));
        let square = Mat::rows(square, 0, self.len);
        self.inner(square, self.of(v))
            .write_to(&mut out[self.start..]);
    }
}

/// The output and the probabilities.
pub(crate) fn forward<T: Float>(qkv: [&[T]; 3], heads: Tiling<'_>) -> (Vec<T>, Vec<T>) {
    let mut out = vec![T::default(); qkv[0].len()];
    let mut p = vec![T::default(); heads.n_probabilities()];
    for tile in heads.tiles() {
        let square = &mut p[tile.square..tile.square + tile.len * tile.len];
        tile.attend(qkv, heads.scale(), square, &mut out);
    }
    (out, p)
}

/// The output alone: the probabilities of one sentence and head are there at a time.
pub(crate) fn output<T: Float>(qkv: [&[T]; 3], heads: Tiling<'_>) -> Vec<T> {
    let mut out = vec![T::default(); qkv[0].len()];
    let longest = heads.lengths.iter().copied().max().unwrap_or(0);
    let mut p = vec![T::default(); longest * longest];
    for tile in heads.tiles() {
        let square = &mut p[..tile.len * tile.len];
        tile.attend(qkv, heads.scale(), square, &mut out);
    }
    out
}

/// The gradients of the queries, the keys and the values.
pub(crate) fn backward<T: Float>(
    [q, k, v]: [&[T]; 3],
    p: &[T],
    g: &[T],
    heads: Tiling<'_>,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let zeros = || vec![T::default(); q.len()];
    let (mut dq, mut dk, mut dv) = (zeros(), zeros(), zeros());
    let mut ds = Vec::new();
    for tile in heads.tiles() {
        ds.resize(tile.len * tile.len, T::default());
        let one = T::of(1.0);
        tile.apply(&mut dv, one, tile.probabilities(p).t(), tile.of(g));
        tile.outer(&mut ds, Start::Zero, one, tile.of(g), tile.of(v));
        through_softmax(&mut ds, &p[tile.square..], tile.len);
        let ds = Mat::rows(&ds, 0, tile.len);
        tile.apply(&mut dq, heads.scale(), ds, tile.of(k));
        tile.apply(&mut dk, heads.scale(), ds.t(), tile.of(q));
    }
    (dq, dk, dv)
}

/// The gradients of `<backward(q, k, v, g), (a, b, c)>` with respect to `q`, `k`, `v` and `g`.
///
/// With `dP = g v^T` and `dS = P * (dP - rowsum(dP * P))`, [`backward`] is `dq = s dS k`, `dk = s dS^T q` and
/// `dv = P^T g`; the steps below go back through these in reverse.
pub(crate) fn backward_twice<T: Float>(
    [q, k, v]: [&[T]; 3],
    p: &[T],
    g: &[T],
    [a, b, c]: [&[T]; 3],
    heads: Tiling<'_>,
) -> [Vec<T>; 4] {
    let zeros = || vec![T::default(); q.len()];
    let [mut eq, mut ek, mut ev, mut eg] = [zeros(), zeros(), zeros(), zeros()];
    let (mut dp, mut ds, mut to_ds, mut to_p) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let scale = heads.scale::<T>();
    for tile in heads.tiles() {
        let (len, area, one) = (tile.len, tile.len * tile.len, T::of(1.0));
        for square in [&mut dp, &mut ds, &mut to_ds, &mut to_p] {
            square.resize(area, T::default());
        }
        let probabilities = &p[tile.square..tile.square + area];
        tile.outer(&mut dp, Start::Zero, one, tile.of(g), tile.of(v));
        ds.copy_from_slice(&dp);
        through_softmax(&mut ds, probabilities, len);
        // dq = s dS k and dk = s dS^T q.
        tile.outer(&mut to_ds, Start::Zero, scale, tile.of(a), tile.of(k));
        tile.outer(&mut to_ds, Start::Output, scale, tile.of(q), tile.of(b));
        let square = Mat::rows(&ds, 0, len);
        tile.apply(&mut ek, scale, square.t(), tile.of(a));
        tile.apply(&mut eq, scale, square, tile.of(b));
        // dv = P^T g.
        tile.apply(&mut eg, one, tile.probabilities(p), tile.of(c));
        tile.outer(&mut to_p, Start::Zero, one, tile.of(g), tile.of(c));
        // dS = P * (dP - rowsum(dP * P)).
        vectorized!(for row in 0..len {
            let range = row * len..(row + 1) * len;
            let (p, dp) = (&probabilities[range.clone()], &dp[range.clone()]);
            let (e, to_p) = (&mut to_ds[range.clone()], &mut to_p[range]);
            let (drift, weight) = (dot(dp, p), dot(e, p));
            for i in 0..len {
                to_p[i] += e[i] * (dp[i] - drift) - dp[i] * weight;
                e[i] = p[i] * (e[i] - weight);
            }
        });
        // dP = g v^T.
        let to_dp = Mat::rows(&to_ds, 0, len);
        tile.apply(&mut eg, one, to_dp, tile.of(v));
        tile.apply(&mut ev, one, to_dp.t(), tile.of(g));
        // P = softmax(s q k^T).
        through_softmax(&mut to_p, probabilities, len);
        let to_s = Mat::rows(&to_p, 0, len);
        tile.apply(&mut eq, scale, to_s, tile.of(k));
        tile.apply(&mut ek, scale, to_s.t(), tile.of(q));
    }
    [eq, ek, ev, eg]
}

/// Turns the gradient of the probabilities into that of the scores, in place: `P * (x - rowsum(x * P))`.
fn through_softmax<T: Float>(x: &mut [T], p: &[T], len: usize) {
    vectorized!(
        for (x, p) in x.chunks_exact_mut(len).zip(p.chunks_exact(len)) {
            let total = dot(x, p);
            for (x, &p) in x.iter_mut().zip(p) {
                *x = p * (*x - total);
            }
        }
    );
}
