//! Scaled dot-product attention over sentences that lie one after another, without padding between them.
//!
//! For one sentence and head, with `s = 1 / sqrt(head size)`: `P = softmax(s q k^T)` and `out = P v`. Rows of `P` and of its
//! gradients are filled up to whole vectors, with what adds nothing to a row's sum. Not here: the projections before and
//! after it.

use std::mem::MaybeUninit;

use super::{
    Float, filled_all,
    layer_norm::dot,
    matmul::{Mat, Product, Start},
    out::Out,
    product::side_by_side,
    refill,
    share::share,
    softmax, tile, vectorized,
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
    /// Numbers in a row of its probabilities, those that fill it up included.
    width: usize,
    size: usize,
    hidden: usize,
    /// Where it starts in `(tokens, hidden)`.
    start: usize,
    /// Where its probabilities start.
    square: usize,
}

impl Tiling<'_> {
    fn n_probabilities(self) -> usize {
        let area = |&len: &usize| len * width(len);
        self.lengths.iter().map(area).sum::<usize>() * self.n_heads
    }

    fn scale<T: Float>(self) -> T {
        T::of(1.0 / ((self.hidden / self.n_heads) as f64).sqrt())
    }

    /// Calls `f` for parts of the tiles, a sentence's or fewer each, which threads share. Each part gets its tiles one by one
    /// while the next one's part of `operands` is on its way: its rows are short and lie apart, so that no processor would
    /// fetch them by itself.
    fn share<T: Sync, const N: usize>(
        self,
        operands: [&[T]; N],
        f: impl Fn(&mut dyn Iterator<Item = Tile>) + Sync,
    ) {
        let tiles: Vec<Tile> = self.all_tiles().collect();
        share(0..tiles.len(), self.n_heads, &|part| {
            f(&mut part.map(|number| {
                // That of the next part too: it most likely follows.
                if let Some(next) = tiles.get(number + 1) {
                    for operand in operands {
                        next.fetch(operand);
                    }
                }
                tiles[number]
            }));
        });
    }

    fn all_tiles(self) -> impl Iterator<Item = Tile> {
        let size = self.hidden / self.n_heads;
        let (mut row, mut square) = (0, 0);
        self.lengths.iter().flat_map(move |&len| {
            let (first_row, first_square) = (row, square);
            let width = width(len);
            row += len;
            square += len * width * self.n_heads;
            (0..self.n_heads).map(move |head| Tile {
                len,
                width,
                size,
                hidden: self.hidden,
                start: first_row * self.hidden + head * size,
                square: first_square + head * len * width,
            })
        })
    }
}

/// Numbers in a row that is filled up.
fn width(len: usize) -> usize {
    len.next_multiple_of(FULL)
}

/// Rows are filled up to a multiple of this: whole vectors of any machine.
const FULL: usize = 16;

impl Tile {
    fn of<T>(self, data: &[T]) -> Mat<'_, T> {
        Mat {
            data,
            start: self.start,
            row: self.hidden,
            col: 1,
        }
    }

    /// What a product of this tile starts from, with its rows where those of an output are.
    fn start_from<T>(self, rows: Option<&[T]>) -> Start<'_, T> {
        match rows {
            None => Start::Zero,
            Some(rows) => Start::Rows(&rows[self.start..], self.hidden),
        }
    }

    /// Asks for its part of an operand.
    fn fetch<T>(self, operand: &[T]) {
        const LINE: usize = 64;
        for row in 0..self.len {
            let row = &operand[self.start + row * self.hidden..][..self.size];
            for part in row.chunks(LINE / size_of::<T>()) {
                tile::fetch(part.as_ptr());
            }
        }
    }

    /// All rows of a square.
    fn square<T>(self, data: &[T]) -> Mat<'_, T> {
        Mat::rows(data, 0, self.width)
    }

    fn area(self) -> usize {
        self.len * self.width
    }

    /// Its probabilities among those of all tiles.
    fn probabilities<T>(self, data: &[T]) -> &[T] {
        &data[self.square..][..self.area()]
    }

    /// `square = start + scale * a b^T` for two tiles, filled up with what is there to start from.
    fn outer<'o, T: Float>(
        self,
        square: impl Into<Out<'o, T>>,
        start: Start<'_, T>,
        scale: T,
        [a, b]: [&[T]; 2],
        room: &mut Vec<T>,
    ) {
        let (b, lines) = (&b[self.start..], (self.len, self.size));
        // With columns of 0 that fill it up.
        refill(room, self.size * self.width, |out| {
            vectorized!(side_by_side(b, (self.hidden, 1), lines, self.width, out));
        });
        Product {
            shape: (self.len, self.width, self.size),
            start,
            scale,
            a: self.of(a),
            b: Mat::rows(room, 0, self.width),
            dst_row: self.width,
        }
        .write_to(&mut square.into());
    }

    /// `start + scale * square b` for this tile of an output.
    fn apply<T: Float>(
        self,
        out: &Out<'_, T>,
        start: Start<'_, T>,
        scale: T,
        square: Mat<'_, T>,
        b: Mat<'_, T>,
    ) {
        // SAFETY: a tile is one thread's, and its products follow one another.
        #[expect(unsafe_code, reason = "threads write to different tiles of one output")]
        let mut out = unsafe { out.after(self.start) };
        Product {
            shape: (self.len, self.size, self.len),
            start,
            scale,
            a: square,
            b,
            dst_row: self.hidden,
        }
        .write_to(&mut out);
    }

    /// The probabilities, and with them this tile of the output.
    fn attend<T: Float>(
        self,
        [q, k, v]: [&[T]; 3],
        scale: T,
        edges: &Edges<T>,
        square: &mut [MaybeUninit<T>],
        (out, room): (&Out<'_, T>, &mut Vec<T>),
    ) {
        let edge = Start::Rows(edges.of(self), 0);
        // SAFETY: the product reads nothing of its output, and writes to all of it.
        #[expect(unsafe_code, reason = "the compiler cannot see that it is written")]
        let square = unsafe {
            self.outer(Out::new(square), edge, scale, [q, k], room);
            square.assume_init_mut()
        };
        vectorized!(softmax::rows(square, self.width));
        self.apply(
            out,
            Start::Zero,
            T::of(1.0),
            self.square(square),
            self.of(v),
        );
    }
}

/// What rows of scores start from: 0 for each token and, where they are filled up, what has no exponential.
struct Edges<T> {
    longest: usize,
    row: Vec<T>,
}

impl<T: Float> Edges<T> {
    fn new(lengths: &[usize]) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut row = vec![T::default(); longest];
        row.resize(longest + FULL, T::of(f64::NEG_INFINITY));
        Self { longest, row }
    }

    fn of(&self, tile: Tile) -> &[T] {
        &self.row[self.longest - tile.len..][..tile.width]
    }
}

/// The output and the probabilities.
pub(crate) fn forward<T: Float>(qkv: [&[T]; 3], heads: Tiling<'_>) -> (Vec<T>, Vec<T>) {
    let edges = Edges::new(heads.lengths);
    let mut p = [Vec::new()];
    let [out] = filled_all(qkv[0].len(), |[out]| {
        p = filled_all(heads.n_probabilities(), |[p]| {
            heads.share(qkv, |tiles| {
                let mut room = Vec::new();
                for tile in tiles {
                    // SAFETY: the square is this tile's.
                    #[expect(unsafe_code, reason = "threads write to different squares")]
                    let mut square = unsafe { p.after(tile.square) };
                    let square = square.first(tile.area());
                    tile.attend(qkv, heads.scale(), &edges, square, (&out, &mut room));
                }
            });
        });
    });
    let [p] = p;
    (out, p)
}

/// The output alone: the probabilities of one sentence and head are there at a time.
pub(crate) fn output<T: Float>(qkv: [&[T]; 3], heads: Tiling<'_>) -> Vec<T> {
    let edges = Edges::new(heads.lengths);
    let [out] = filled_all(qkv[0].len(), |[out]| {
        heads.share(qkv, |tiles| {
            let (mut p, mut room) = (Vec::new(), Vec::new());
            for tile in tiles {
                p.resize(tile.area(), MaybeUninit::uninit());
                tile.attend(qkv, heads.scale(), &edges, &mut p, (&out, &mut room));
            }
        });
    });
    out
}

/// The gradients of the queries, the keys and the values, added to what is there of them already.
pub(crate) fn backward<T: Float>(
    [q, k, v]: [&[T]; 3],
    (p, g): (&[T], &[T]),
    begun: [Option<&[T]>; 3],
    heads: Tiling<'_>,
) -> [Vec<T>; 3] {
    filled_all(q.len(), |[dq, dk, dv]| {
        heads.share([q, k, v, g], |tiles| {
            let (mut ds, mut room) = (Vec::new(), Vec::new());
            let (scale, one) = (heads.scale::<T>(), T::of(1.0));
            for tile in tiles {
                let p = tile.probabilities(p);
                ds.resize(tile.area(), T::default());
                let [to_q, to_k, to_v] = begun.map(|begun| tile.start_from(begun));
                tile.apply(&dv, to_v, one, tile.square(p).t(), tile.of(g));
                tile.outer(&mut ds[..], Start::Zero, one, [g, v], &mut room);
                through_softmax(&mut ds, p, tile.width);
                let ds = tile.square(&ds);
                tile.apply(&dq, to_q, scale, ds, tile.of(k));
                tile.apply(&dk, to_k, scale, ds.t(), tile.of(q));
            }
        });
    })
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
    filled_all(q.len(), |[eq, ek, ev, eg]| {
        heads.share([q, k, v, g, a, b, c], |tiles| {
            let [mut dp, mut ds, mut to_ds, mut to_p, mut room] = [const { Vec::new() }; 5];
            let (scale, one) = (heads.scale::<T>(), T::of(1.0));
            for tile in tiles {
                let (p, width) = (tile.probabilities(p), tile.width);
                for square in [&mut dp, &mut to_ds, &mut to_p] {
                    square.resize(tile.area(), T::default());
                }
                tile.outer(&mut dp[..], Start::Zero, one, [g, v], &mut room);
                ds.clone_from(&dp);
                through_softmax(&mut ds, p, width);
                // dq = s dS k and dk = s dS^T q.
                for (start, factors) in [(Start::Zero, [a, k]), (Start::Output, [q, b])] {
                    tile.outer(&mut to_ds[..], start, scale, factors, &mut room);
                }
                let square = tile.square(&ds);
                tile.apply(&ek, Start::Zero, scale, square.t(), tile.of(a));
                tile.apply(&eq, Start::Zero, scale, square, tile.of(b));
                // dv = P^T g.
                tile.apply(&eg, Start::Zero, one, tile.square(p), tile.of(c));
                tile.outer(&mut to_p[..], Start::Zero, one, [g, c], &mut room);
                // dS = P * (dP - rowsum(dP * P)).
                through_dot(&mut to_ds, &mut to_p, (p, &dp), width);
                // dP = g v^T.
                let to_dp = tile.square(&to_ds);
                tile.apply(&eg, Start::Output, one, to_dp, tile.of(v));
                tile.apply(&ev, Start::Zero, one, to_dp.t(), tile.of(g));
                // P = softmax(s q k^T).
                through_softmax(&mut to_p, p, width);
                let to_s = tile.square(&to_p);
                tile.apply(&eq, Start::Output, scale, to_s, tile.of(k));
                tile.apply(&ek, Start::Output, scale, to_s.t(), tile.of(q));
            }
        });
    })
}

/// Goes back through `dS = P * (dP - rowsum(dP * P))`: adds to the gradient of `P`, and turns that of `dS` into that of `dP`.
fn through_dot<T: Float>(to_ds: &mut [T], to_p: &mut [T], (p, dp): (&[T], &[T]), width: usize) {
    vectorized!({
        let to_squares = to_ds
            .chunks_exact_mut(width)
            .zip(to_p.chunks_exact_mut(width));
        let squares = p.chunks_exact(width).zip(dp.chunks_exact(width));
        for ((e, to_p), (p, dp)) in to_squares.zip(squares) {
            let (drift, weight) = (dot(dp, p), dot(e, p));
            for i in 0..width {
                to_p[i] += e[i] * (dp[i] - drift) - dp[i] * weight;
                e[i] = p[i] * (e[i] - weight);
            }
        }
    });
}

/// Turns the gradient of the probabilities into that of the scores, in place: `P * (x - rowsum(x * P))`.
fn through_softmax<T: Float>(x: &mut [T], p: &[T], width: usize) {
    vectorized!(
        for (x, p) in x.chunks_exact_mut(width).zip(p.chunks_exact(width)) {
            let total = dot(x, p);
            for (x, &p) in x.iter_mut().zip(p) {
                *x = p * (*x - total);
            }
        }
    );
}
