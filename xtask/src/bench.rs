//! `cargo xtask bench`: how fast metashot is, alone or beside `PyTorch`, JAX and ONNX Runtime doing the same work.
//!
//! Every measurement is a process of its own that prints one JSON line. A first, short round runs every variant of the
//! peers and finds the fastest; then ours and that one take turns. Deliberately not here: the work itself, which is the
//! example `workload` of `metashot` and the peers' scripts; statistics beyond a median and its range.

mod peers;
mod run;
mod table;
mod works;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use self::{
    peers::Variant,
    run::{Program, Run, Side},
    works::{Family, Kind, WORKS, Work},
};
use crate::tools;

#[derive(Args)]
pub(crate) struct Options {
    /// The folder with the peers' scripts (`peer_conv4_torch.py` and the like); without it ours runs alone.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// The Python that has what the scripts import.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// The work to measure, all comparisons if not given; `--list` names them.
    #[arg(long = "work", value_name = "NAME", num_args = 1..)]
    works: Vec<String>,
    /// Only these variants of the peers; with one left there is no round to find the fastest.
    #[arg(long = "variant", value_name = "NAME", num_args = 1..)]
    variants: Vec<String>,
    /// Rounds: ours and the fastest peer once in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of timed steps in a round, for each.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Threads, for ours and for the peers.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// The folder with Few-NERD and `MiniLM`'s tokenizer, for the work on real sentences; without it their lengths are
    /// known. `METASHOT_DATA` does the same.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Adds a JSON line for every run to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Measures the program as it was built before: nothing is compiled.
    #[arg(long)]
    no_build: bool,
    /// Runs nothing: prints the table of the runs in these files.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Runs nothing: lists the names of the work and of the peers' variants.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.list {
        print!("{}", list());
    } else if options.from.is_empty() {
        let runs = measure(options)?;
        println!("\n{}", table::render(&runs)?);
    } else {
        let mut runs = Vec::new();
        for path in &options.from {
            runs.extend(read(path)?);
        }
        println!("{}", table::render(&runs)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let line = |work: &Work| {
        let peers = if work.is_alone() {
            "ours alone".to_owned()
        } else {
            let names: Vec<_> = peers::of(work.family).map(|peer| peer.name).collect();
            names.join(", ")
        };
        format!("{:<24} {} ({peers})\n", work.name, work.title)
    };
    WORKS.iter().map(line).collect()
}

fn measure(options: &Options) -> anyhow::Result<Vec<Run>> {
    let works = chosen(&options.works)?;
    ensure!(options.rounds > 0, "`--rounds` must be at least 1");
    ensure!(options.threads > 0, "`--threads` must be at least 1");
    if let Some(folder) = &options.peers {
        for work in works.iter().filter(|work| !work.is_alone()) {
            for variant in chosen_variants(work, options)? {
                variant.check(folder)?;
            }
        }
    }
    let mut bench = Bench {
        options,
        example: if options.no_build { built()? } else { build()? },
        runs: Vec::new(),
    };
    for work in works {
        bench
            .work(work)
            .with_context(|| format!("failed to measure `{}`", work.name))?;
    }
    Ok(bench.runs)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Work>> {
    if names.is_empty() {
        return Ok(WORKS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            let known = WORKS.iter().find(|work| work.name == name);
            known
                .with_context(|| format!("there is no work `{name}`; `--list` names what there is"))
        })
        .collect()
}

fn chosen_variants(work: &Work, options: &Options) -> anyhow::Result<Vec<&'static Variant>> {
    let only = &options.variants;
    let chosen: Vec<_> = peers::of(work.family)
        .filter(|variant| only.is_empty() || only.iter().any(|name| name == variant.name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "`{}` has no variant {}; `--list` names what there is",
        work.name,
        only.iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" or ")
    );
    Ok(chosen)
}

/// Builds the example in release, and says where it is.
fn build() -> anyhow::Result<PathBuf> {
    let mut command = tools::cargo();
    command
        .args([
            "build",
            "--release",
            "--package",
            "metashot",
            "--example",
            "workload",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(tools::root())
        .stderr(std::process::Stdio::inherit());
    let output = command
        .output()
        .with_context(|| tools::failed_to_start(&command))?;
    ensure!(
        output.status.success(),
        "the example `workload` does not build"
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "workload")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo does not say where the example `workload` is")
}

/// Where an earlier build left the example.
fn built() -> anyhow::Result<PathBuf> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| tools::root().join("target"), PathBuf::from);
    let mut path = target.join("release").join("examples").join("workload");
    path.set_extension(env::consts::EXE_EXTENSION);
    ensure!(
        path.is_file(),
        "there is no `{}`: run without `--no-build` once",
        path.display()
    );
    Ok(path)
}

struct Bench<'a> {
    options: &'a Options,
    example: PathBuf,
    runs: Vec<Run>,
}

impl Bench<'_> {
    /// All rounds of one piece of work.
    fn work(&mut self, work: &Work) -> anyhow::Result<()> {
        eprintln!("{}: {}", work.name, work.title);
        let peer = match &self.options.peers {
            Some(folder) if !work.is_alone() => Some(self.fastest(work, folder)?),
            _ => None,
        };
        let seconds = self.options.seconds;
        for round in 1..=self.options.rounds {
            if work.family != Family::Matmul && !work.is_alone() {
                self.take((work.name, Side::Yardstick, round), self.yardstick())?;
            }
            self.take((work.name, Side::Ours, round), self.ours(work, seconds))?;
            if let Some(peer) = &peer {
                self.take((work.name, Side::Peer, round), self.peer(peer, seconds))?;
            }
        }
        Ok(())
    }

    /// The variant of the peers that is the fastest in a short run of each.
    fn fastest<'f>(&mut self, work: &Work, folder: &'f Path) -> anyhow::Result<Peer<'f>> {
        let variants = chosen_variants(work, self.options)?;
        let mut flags = peers::words(work.flags);
        if work.kind == Kind::Padded {
            let ours = self.take((work.name, Side::Trial, 0), self.ours(work, 0.0))?;
            let len = &ours.result["padded_len"];
            ensure!(len.is_u64(), "ours does not say to which length to pad");
            flags.extend(["--seq-len".to_owned(), len.to_string()]);
        }
        let mut best: Option<(f64, Peer<'f>)> = None;
        let only = variants.len() == 1;
        for variant in variants {
            let flags = flags.clone();
            let peer = Peer {
                folder,
                variant,
                flags,
            };
            self.prepare(&peer)?;
            if only {
                return Ok(peer);
            }
            let program = self.peer(&peer, self.options.seconds.min(3.0));
            let rate = self.take((work.name, Side::Trial, 0), program)?.rate()?;
            if best.as_ref().is_none_or(|(fastest, _)| rate > *fastest) {
                best = Some((rate, peer));
            }
        }
        Ok(best.context("no variant was measured")?.1)
    }

    /// Runs a program, and keeps and returns what it measured.
    fn take(&mut self, which: (&str, Side, usize), program: Program) -> anyhow::Result<&Run> {
        let run = program.measure(which, self.options.threads)?;
        eprintln!("  {}", run.summary()?);
        if let Some(path) = &self.options.out {
            let line = serde_json::to_string(&run)?;
            let file = fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| writeln!(file, "{line}"))
                .with_context(|| format!("failed to write `{}`", path.display()))?;
        }
        self.runs.push(run);
        self.runs.last().context("a run was just added")
    }

    fn ours(&self, work: &Work, seconds: f64) -> Program {
        let mut program = Program::new("metashot", &self.example);
        program
            .args([work.family.command()])
            .args(peers::words(work.flags));
        if work.kind == Kind::Padded {
            program.args(["--real"]);
            if let Some(data) = &self.options.data {
                program.args(["--data".as_ref(), data.as_os_str()]);
            }
        }
        if work.kind == Kind::Held {
            program.args(["--held"]);
        }
        let threads = match work.kind {
            Kind::Alone(Some(threads)) => threads,
            _ => self.options.threads,
        };
        bounded(program, threads, seconds)
    }

    /// The rate of candle's own large matrix product as it is right now.
    fn yardstick(&self) -> Program {
        let mut program = Program::new("candle", &self.example);
        program.args([Family::Matmul.command()]);
        bounded(program, self.options.threads, 1.0)
    }

    fn peer(&self, peer: &Peer<'_>, seconds: f64) -> Program {
        let mut program = self.script(peer);
        program
            .args(&peer.flags)
            .args(peer.variant.bound(seconds))
            .args(["--threads", &self.options.threads.to_string()]);
        program
    }

    /// Makes what a variant needs before its first run.
    fn prepare(&self, peer: &Peer<'_>) -> anyhow::Result<()> {
        if !peer.variant.prepare.is_empty() {
            let scratch = scratch();
            fs::create_dir_all(&scratch)
                .with_context(|| format!("failed to make `{}`", scratch.display()))?;
            let mut program = self.script(peer);
            program.args(peers::words(peer.variant.prepare)).execute()?;
        }
        Ok(())
    }

    fn script(&self, peer: &Peer<'_>) -> Program {
        let mut program = Program::new(peer.variant.name, &self.options.python);
        let args = peer
            .variant
            .args
            .replace("{threads}", &self.options.threads.to_string());
        let scratch = scratch().display().to_string();
        program.args([peer.folder.join(peer.variant.script)]).args(
            peers::words(&args)
                .iter()
                .map(|arg| arg.replace("{scratch}", &scratch)),
        );
        program
    }
}

/// A variant and what it is called with.
struct Peer<'f> {
    folder: &'f Path,
    variant: &'static Variant,
    flags: Vec<String>,
}

fn bounded(mut program: Program, threads: usize, seconds: f64) -> Program {
    let (threads, seconds) = (threads.to_string(), seconds.to_string());
    program
        .args(["--threads", &threads])
        .args(["--steps", "1000", "--max-seconds", &seconds])
        // For candle's own pool.
        .env("RAYON_NUM_THREADS", &threads);
    program
}

/// Where a peer may keep a file of its own.
fn scratch() -> PathBuf {
    tools::root().join("target").join("bench")
}

fn read(path: &Path) -> anyhow::Result<Vec<Run>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not a run", path.display(), index + 1))
        })
        .collect()
}
