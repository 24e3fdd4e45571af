//! `metashot episodes sample`: from files to frozen episodes.
//!
//! Everything is drawn twice, for the hash and for the file, which is cheaper than keeping it. Deliberately not here:
//! tensors and models; of a model only its tokenizer is read.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use metashot_data::{
    hash_file,
    text::{
        Corpus, DataFile, DomainSampler, EpisodesHasher, EpisodesHeader, EpisodesOrigin,
        NerSampler, NerShape, SupportRule, TaggingEpisode, Tokenizer, episode_line, read_bio,
    },
};
use metashot_models::replace_file;

use super::summary::{Summary, origin};
use crate::{
    args::{EpisodesSampleArgs, FrozenSplit, Protocol},
    cases::Split,
    commands::{
        print,
        session::{backbone, paths, shown},
    },
    embedded,
    learners::episode_seed,
    ner_data::{NerSplits, read_splits, readable},
    progress::{Progress, say},
    recipe::{Orphan, Overrides, Paths, Recipe},
};

/// Draws episodes, writes them and prints what they are.
pub(super) fn run(args: &EpisodesSampleArgs) -> Result<()> {
    let out = args.out.as_path();
    ensure!(
        args.overwrite || !out.exists(),
        "{} is there already; replace it by `--overwrite`, or name another file by `--out`",
        shown(out)
    );
    let plan = match &args.data_file {
        Some(file) => Plan::of_files(file, args)?,
        None => Plan::of_recipe(args)?,
    };
    let (header, summary) = plan.count_and_hash()?;
    let mut progress = Progress::new("writing", 0, plan.count);
    replace_file(out, |file| {
        let mut written = EpisodesHasher::new();
        for index in 0..plan.count {
            let episode = plan.episode(index).map_err(std::io::Error::other)?;
            written.add(&episode);
            let line = episode_line(&episode, (index == 0).then_some(&header));
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            progress.step(index + 1, String::new);
        }
        debug_assert_eq!(
            written.finish(),
            header.hash,
            "an episode is always the same one"
        );
        Ok(())
    })?;
    drop(progress);
    let hash = format!("hash       {}\n", header.hash);
    print(&[hash, origin(&header.origin), summary.table()].concat())?;
    say(&format!("wrote {} episodes to {}", plan.count, shown(out)));
    Ok(())
}

/// What to draw.
struct Plan {
    source: Source,
    origin: EpisodesOrigin,
    /// The seed of the sampler: that of the run's episodes.
    seed: u64,
    count: u64,
}

/// What episodes are drawn from.
enum Source {
    /// N types each, by Few-NERD's rule.
    NWay(Corpus, NerSampler),
    /// All types against a whole file of queries.
    Domain(DomainSampler),
}

impl Plan {
    /// The episodes that `train` and `eval` draw.
    fn of_recipe(args: &EpisodesSampleArgs) -> Result<Self> {
        ensure!(
            args.protocol == Protocol::FewNerd,
            "a recipe's episodes are drawn by `--protocol few-nerd`; for another one name the files by `--data-file` \
             and `--queries`"
        );
        let mut overrides = Overrides {
            set: args.set.clone(),
            seed: args.seed,
            n_way: args.n_way,
            k_shot: args.k_shot,
            backbone: args.backbone.clone(),
            ..Overrides::default()
        };
        let numbers = [
            ("episodes.test_n_query", args.n_query),
            ("ner.max_tokens", args.max_tokens),
        ];
        for (key, value) in numbers {
            overrides
                .set
                .extend(value.map(|value| format!("{key}={value}")));
        }
        let recipe = Recipe::load(args.recipe.as_deref(), &overrides)?;
        let ner = recipe.ner.as_ref().context(
            "the recipe has no `[ner]`: only episodes of sentences with entities are frozen",
        )?;
        let embedded = recipe.is_embedded().then(embedded::unpack).transpose()?;
        let paths = paths(args.data.as_deref(), embedded.as_ref());
        ensure!(
            !ner.test.is_empty(),
            "the recipe names no `ner.test` to draw from"
        );
        let NerSplits {
            validation, test, ..
        } = read_splits(ner, "", &paths, recipe.seed)?;
        let test = test.context("the recipe has no test sentences")?;
        let (split, name, corpus, in_recipe) = match args.split.unwrap_or_default() {
            FrozenSplit::Validation => {
                let count = recipe.evaluation.validation_episodes;
                (Split::Validation, "validation", validation, count)
            }
            FrozenSplit::Test => (Split::Test, "test", test, recipe.evaluation.test_episodes),
        };
        let tokenizer = tokenizer(&paths, &ner.backbone)?;
        let (corpus, _) = readable(corpus, &tokenizer, ner.max_tokens)?;
        let shape = NerShape {
            n_way: recipe.episodes.n_way,
            k_shot: recipe.episodes.k_shot,
            n_query: recipe.episodes.test_n_query,
        };
        let mut data = Vec::new();
        let files = [
            ("train", &ner.train),
            ("validation", &ner.validation),
            ("test", &ner.test),
        ];
        for (role, file) in files {
            data.push(data_file(&paths.find(file)?, role)?);
        }
        Self::n_way(
            corpus,
            shape,
            EpisodesOrigin {
                protocol: args.protocol.name().into(),
                n_way: shape.n_way,
                k_shot: shape.k_shot,
                n_query: Some(shape.n_query),
                seed: recipe.seed,
                split: Some(name.into()),
                data,
            },
        )
        .map(|plan| Self {
            seed: episode_seed(recipe.seed, split),
            count: args.count.unwrap_or(in_recipe as u64),
            ..plan
        })
        .with_context(|| format!("the {name} sentences do not make these episodes"))
    }

    /// Episodes of files that are named one by one.
    fn of_files(file: &str, args: &EpisodesSampleArgs) -> Result<Self> {
        let paths = Paths::new(args.data.clone(), None);
        let k_shot = args
            .k_shot
            .context("name the entities of each type in a support set by `--k-shot`")?;
        let files = Files::read(file, args, &paths)?;
        let seed = args.seed.unwrap_or(0);
        let origin = |n_way, n_query| EpisodesOrigin {
            protocol: args.protocol.name().into(),
            n_way,
            k_shot,
            n_query,
            seed,
            split: None,
            data: files.data.clone(),
        };
        let rule = match args.protocol {
            Protocol::FewNerd => {
                ensure!(
                    files.queries.is_none(),
                    "`--protocol few-nerd` draws queries from `--data-file` too; `--queries` goes with the others"
                );
                let n_way = args
                    .n_way
                    .context("name the entity types of an episode by `--n-way`")?;
                let n_query = args.n_query.unwrap_or(k_shot);
                let shape = NerShape {
                    n_way,
                    k_shot,
                    n_query,
                };
                let origin = origin(n_way, Some(n_query));
                let corpus = files.sentences.clone();
                let plan = Self::n_way(corpus, shape, origin)
                    .with_context(|| format!("`{file}` does not make these episodes"))?;
                return Ok(Self {
                    count: args.count.unwrap_or(1000),
                    ..plan
                });
            }
            Protocol::Structshot => SupportRule::Greedy,
            Protocol::Hou => SupportRule::MinimumIncluding,
        };
        ensure!(
            args.n_way.is_none() && args.n_query.is_none(),
            "`--protocol {}` takes all types and all of `--queries`; `--n-way` and `--n-query` go with `few-nerd`, and \
             `--types` chooses types",
            args.protocol.name()
        );
        let queries = files.queries.as_ref().with_context(|| {
            format!(
                "`--protocol {}` measures on a file of its own: name it by `--queries`",
                args.protocol.name()
            )
        })?;
        let sampler =
            DomainSampler::new(&files.sentences, queries, k_shot, rule).with_context(|| {
                format!("`{file}` does not make these support sets; draw from another file, or leave types out by `--types`")
            })?;
        Ok(Self {
            source: Source::Domain(sampler),
            origin: origin(files.sentences.types.len(), None),
            seed: episode_seed(seed, Split::Test),
            count: args.count.unwrap_or(10),
        })
    }

    /// Few-NERD's rule on all types of a corpus.
    fn n_way(corpus: Corpus, shape: NerShape, origin: EpisodesOrigin) -> Result<Self> {
        let types: Vec<usize> = (0..corpus.types.len()).collect();
        let sampler = NerSampler::new(&corpus, &types, shape)?;
        Ok(Self {
            source: Source::NWay(corpus, sampler),
            seed: episode_seed(origin.seed, Split::Test),
            origin,
            count: 0,
        })
    }

    fn episode(&self, index: u64) -> metashot_data::Result<TaggingEpisode> {
        match &self.source {
            Source::NWay(corpus, sampler) => Ok(TaggingEpisode::new(
                corpus,
                &sampler.episode(self.seed, index)?,
            )),
            Source::Domain(sampler) => Ok(sampler.episode(self.seed, index)),
        }
    }

    /// Draws everything once.
    fn count_and_hash(&self) -> Result<(EpisodesHeader, Summary)> {
        ensure!(self.count > 0, "`--count` must be at least 1, found 0");
        let (mut hasher, mut summary) = (EpisodesHasher::new(), Summary::default());
        let mut progress = Progress::new("drawing", 0, self.count);
        for index in 0..self.count {
            let drawn = self.episode(index);
            let episode = drawn.with_context(|| format!("episode {index} cannot be drawn"))?;
            hasher.add(&episode);
            summary.add(&episode);
            progress.step(index + 1, String::new);
        }
        let header = EpisodesHeader {
            hash: hasher.finish(),
            episodes: self.count as usize,
            origin: self.origin.clone(),
        };
        Ok((header, summary))
    }
}

/// The sentences of files that are named one by one.
struct Files {
    sentences: Corpus,
    queries: Option<Corpus>,
    data: Vec<DataFile>,
}

impl Files {
    fn read(file: &str, args: &EpisodesSampleArgs, paths: &Paths) -> Result<Self> {
        ensure!(
            args.backbone.is_some() == args.max_tokens.is_some(),
            "`--max-tokens` counts the tokens of `--backbone`: give both or neither"
        );
        let orphan = args.orphan.unwrap_or(Orphan::Reject).into();
        let mut data = Vec::new();
        let mut read = |name: &str, role: &str| -> Result<Corpus> {
            let path = paths.find(name)?;
            data.push(data_file(&path, role)?);
            Ok(read_bio(&path, orphan)?)
        };
        let sentences = read(file, "sentences")?.without_duplicates();
        let queries = args.queries.as_ref().map(|name| read(name, "queries"));
        let (mut sentences, mut queries) = (sentences, queries.transpose()?);
        for name in &args.exclude {
            let excluded = read(name, "excluded")?;
            sentences = sentences.without(&excluded);
            queries = queries.map(|queries| queries.without(&excluded));
        }
        if !args.types.is_empty() {
            sentences = sentences.restrict(&args.types)?;
            // A type may have no entity among the queries, but it must be one that there is.
            queries = queries
                .map(|queries| only(&queries, &args.types))
                .transpose()?;
        }
        if let (Some(model), Some(max_tokens)) = (&args.backbone, args.max_tokens) {
            let tokenizer = tokenizer(paths, model)?;
            sentences = readable(sentences, &tokenizer, max_tokens)?.0;
            queries = queries
                .map(|queries| Ok::<_, anyhow::Error>(readable(queries, &tokenizer, max_tokens)?.0))
                .transpose()?;
        }
        Ok(Self {
            sentences,
            queries,
            data,
        })
    }
}

/// The sentences with no entity of another type than the named ones, of which the corpus may lack some.
fn only(corpus: &Corpus, types: &[String]) -> Result<Corpus> {
    let known: Vec<&String> = types
        .iter()
        .filter(|kind| corpus.types.contains(kind))
        .collect();
    Ok(corpus.restrict(&known)?)
}

fn data_file(path: &Path, role: &str) -> Result<DataFile> {
    Ok(DataFile {
        name: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        role: role.into(),
        sha256: hash_file(path)?,
    })
}

fn tokenizer(paths: &Paths, model: &str) -> Result<Tokenizer> {
    Ok(Tokenizer::from_file(
        &backbone(paths, model)?.join("tokenizer.json"),
    )?)
}
