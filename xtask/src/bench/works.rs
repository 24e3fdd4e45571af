//! What is measured: names, titles and flags.
//!
//! Deliberately not here: the peers' variants (`peers`), and what a flag does, which each program's `--help` says.

/// Pieces of work that the same programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Conv4,
    Proto,
    Bert,
    Tag,
    Matmul,
}

/// How a piece of work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours and the peers with the same flags.
    Compared,
    /// Ours on sentences as long as real ones, the peers on as many that are padded to each task's longest.
    Padded,
    /// Ours on sentences that it has seen before, of which it holds what never changes; the peers compute it each time.
    Held,
    /// Ours alone, with this many threads if it says so: it shows how ours grows.
    Alone(Option<usize>),
}

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Work {
    /// As the command line names it.
    pub(crate) name: &'static str,
    /// As the table does.
    pub(crate) title: &'static str,
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    /// What ours and the peers are called with.
    pub(crate) flags: &'static str,
}

impl Work {
    /// Whether no peer runs beside it.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.kind, Kind::Alone(_))
    }
}

impl Family {
    /// The example's name of it.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Conv4 => "conv4",
            Self::Proto => "proto",
            Self::Bert => "bert",
            Self::Tag => "tag",
            Self::Matmul => "matmul",
        }
    }
}

const fn work(
    name: &'static str,
    title: &'static str,
    family: Family,
    kind: Kind,
    flags: &'static str,
) -> Work {
    Work {
        name,
        title,
        family,
        kind,
        flags,
    }
}

/// All there is, in the order of the table.
pub(crate) const WORKS: &[Work] = {
    use Family::{Bert, Conv4, Matmul, Proto, Tag};
    use Kind::{Alone, Compared, Held, Padded};
    &[
        work(
            "matmul",
            "float32 matrix product of 2048",
            Matmul,
            Compared,
            "",
        ),
        work(
            "conv4-1-step",
            "Conv-4, 5-way 1-shot, 1 query, exact, 1 step, meta-batch 32",
            Conv4,
            Compared,
            "--way 5 --shot 1 --query 1 --inner-steps 1 --meta-batch 32",
        ),
        work(
            "conv4-5-steps",
            "Conv-4, 5-way 1-shot, 15 queries, exact, 5 steps, meta-batch 8",
            Conv4,
            Compared,
            "--way 5 --shot 1 --query 15 --inner-steps 5 --meta-batch 8",
        ),
        work(
            "conv4-20-way",
            "Conv-4, 20-way 1-shot, 1 query, exact, 5 steps, meta-batch 8",
            Conv4,
            Compared,
            "--way 20 --shot 1 --query 1 --inner-steps 5 --meta-batch 8",
        ),
        work(
            "bert-first",
            "BERT, first order, 1 step",
            Bert,
            Compared,
            "--inner-steps 1 --meta-batch 4 --first-order",
        ),
        work(
            "bert-exact",
            "BERT, exact, 1 step",
            Bert,
            Compared,
            "--inner-steps 1 --meta-batch 4",
        ),
        work(
            "bert-exact-3",
            "BERT, exact, 3 steps",
            Bert,
            Compared,
            "--inner-steps 3 --meta-batch 4",
        ),
        work(
            "bert-real-first",
            "BERT, real sentences, first order, 1 step",
            Bert,
            Padded,
            "--inner-steps 1 --meta-batch 4 --first-order",
        ),
        work(
            "bert-real-exact",
            "BERT, real sentences, exact, 1 step",
            Bert,
            Padded,
            "--inner-steps 1 --meta-batch 4",
        ),
        work(
            "bert-last-layer",
            "BERT, last layer adapts, exact, 5 steps",
            Bert,
            Compared,
            "--inner-steps 5 --meta-batch 4 --adapt last-layer --outer adapted",
        ),
        work(
            "bert-head",
            "BERT, head adapts, exact, 10 steps",
            Bert,
            Compared,
            "--inner-steps 10 --meta-batch 4 --adapt head --outer adapted",
        ),
        work(
            "bert-last-layer-held",
            "BERT, last layer adapts, exact, 5 steps, sentences seen before",
            Bert,
            Held,
            "--inner-steps 5 --meta-batch 4 --adapt last-layer --outer adapted",
        ),
        work(
            "bert-head-held",
            "BERT, head adapts, exact, 10 steps, sentences seen before",
            Bert,
            Held,
            "--inner-steps 10 --meta-batch 4 --adapt head --outer adapted",
        ),
        work(
            "proto-5-way",
            "ProtoNet, Conv-4, 5-way 5-shot, 15 queries, 4 episodes",
            Proto,
            Compared,
            "--way 5 --shot 5 --query 15 --meta-batch 4",
        ),
        work(
            "proto-20-way",
            "ProtoNet, Conv-4, 20-way 5-shot, 15 queries, 4 episodes",
            Proto,
            Compared,
            "--way 20 --shot 5 --query 15 --meta-batch 4",
        ),
        work("tag", "tagging 512 sentences", Tag, Compared, ""),
        work(
            "memory-1",
            "Conv-4, 15 queries, exact, meta-batch 8, 1 step, flat",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 1 --memory flat",
        ),
        work(
            "memory-5",
            "Conv-4, 15 queries, exact, meta-batch 8, 5 steps, flat",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5 --memory flat",
        ),
        work(
            "memory-10",
            "Conv-4, 15 queries, exact, meta-batch 8, 10 steps, flat",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 10 --memory flat",
        ),
        work(
            "memory-20",
            "Conv-4, 15 queries, exact, meta-batch 8, 20 steps, flat",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 20 --memory flat",
        ),
        work(
            "memory-fast-5",
            "Conv-4, 15 queries, exact, meta-batch 8, 5 steps, fast",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5 --memory fast",
        ),
        work(
            "memory-fast-10",
            "Conv-4, 15 queries, exact, meta-batch 8, 10 steps, fast",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 10 --memory fast",
        ),
        work(
            "memory-fast-20",
            "Conv-4, 15 queries, exact, meta-batch 8, 20 steps, fast",
            Conv4,
            Alone(None),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 20 --memory fast",
        ),
        work(
            "threads-1",
            "Conv-4, 15 queries, exact, 5 steps, meta-batch 8, 1 thread",
            Conv4,
            Alone(Some(1)),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5",
        ),
        work(
            "threads-2",
            "Conv-4, 15 queries, exact, 5 steps, meta-batch 8, 2 threads",
            Conv4,
            Alone(Some(2)),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5",
        ),
        work(
            "threads-3",
            "Conv-4, 15 queries, exact, 5 steps, meta-batch 8, 3 threads",
            Conv4,
            Alone(Some(3)),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5",
        ),
        work(
            "threads-4",
            "Conv-4, 15 queries, exact, 5 steps, meta-batch 8, 4 threads",
            Conv4,
            Alone(Some(4)),
            "--way 5 --shot 1 --query 15 --meta-batch 8 --inner-steps 5",
        ),
        work(
            "bert-threads-1",
            "BERT, first order, 1 step, meta-batch 8, 1 thread",
            Bert,
            Alone(Some(1)),
            "--inner-steps 1 --meta-batch 8 --first-order",
        ),
        work(
            "bert-threads-4",
            "BERT, first order, 1 step, meta-batch 8, 4 threads",
            Bert,
            Alone(Some(4)),
            "--inner-steps 1 --meta-batch 8 --first-order",
        ),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_different() {
        let names: BTreeSet<_> = WORKS.iter().map(|work| work.name).collect();
        assert_eq!(names.len(), WORKS.len());
    }
}
