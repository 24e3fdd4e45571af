//! Tests of the hub against a small server on this machine.
//!
//! Deliberately not here: the real hub.

use std::collections::HashMap;
use std::error::Error as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODEL: &str = "tiny-org/tiny.bert_v2";

/// What the server does with the request for a file.
#[derive(Clone, Copy)]
enum Manner {
    /// Sends the bytes asked for.
    Whole,
    /// Announces all bytes and hangs up after this many.
    Cut(usize),
    /// Sends the whole file whatever range was asked for.
    IgnoresRange,
    /// Answers with this status.
    Status(u16),
}

/// Serves one model in the way of the hub, and remembers what was asked.
#[derive(Clone)]
struct Server {
    endpoint: String,
    manners: Arc<Mutex<HashMap<&'static str, Manner>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            manners: Arc::default(),
            requests: Arc::default(),
        };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up early is part of what is tested.
                let _ = serving.answer(&stream.unwrap());
            }
        });
        server
    }

    fn set(&self, file: &'static str, manner: Manner) {
        self.manners.lock().unwrap().insert(file, manner);
    }

    /// The paths and ranges asked for since the last call, without questions for one byte, which are about size.
    fn asked(&self) -> Vec<String> {
        let mut requests = std::mem::take(&mut *self.requests.lock().unwrap());
        requests.retain(|request| !request.ends_with("bytes=0-0"));
        requests
    }

    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_owned();
        let mut range = String::new();
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("range")
            {
                value.clone_into(&mut range);
            }
        }
        self.requests
            .lock()
            .unwrap()
            .push(format!("{path} {range}"));

        let (at, file) = path.rsplit_once('/').unwrap();
        let known = [
            format!("/{MODEL}/resolve/main"),
            format!("/{MODEL}/resolve/{COMMIT}"),
        ];
        let manner = self
            .manners
            .lock()
            .unwrap()
            .get(file)
            .copied()
            .unwrap_or(Manner::Whole);
        let status = match manner {
            Manner::Status(status) => status,
            _ if known.contains(&at.to_owned()) && MODEL_FILES.contains(&file) => 206,
            _ => 404,
        };
        if status != 206 {
            return write!(
                stream,
                "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }

        let content = content(file);
        let (first, last) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let first: usize = first.parse().unwrap();
        let about_size = last == "0";
        let body = match manner {
            _ if about_size => &content[..1],
            Manner::IgnoresRange => &content[..],
            _ if first >= content.len() => {
                return write!(
                    stream,
                    "HTTP/1.1 416 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
            }
            _ => &content[first..],
        };
        write!(
            stream,
            "HTTP/1.1 206 Partial\r\nx-repo-commit: {COMMIT}\r\netag: \"{}\"\r\ncontent-range: bytes {first}-{}/{}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            etag(file),
            first + body.len() - 1,
            content.len(),
            body.len(),
        )?;
        let sent = if let (Manner::Cut(bytes), false) = (manner, about_size) {
            bytes
        } else {
            body.len()
        };
        stream.write_all(&body[..sent])
    }
}

fn content(file: &str) -> Vec<u8> {
    (0..100_000)
        .map(|i| ((i * 31 + file.len()) % 251) as u8)
        .collect()
}

fn etag(file: &str) -> String {
    format!("e{}", file.len())
}

/// A cache of its own, and a server of its own.
fn set_up() -> (tempfile::TempDir, Server, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let hub = Hub {
        endpoint: server.endpoint.clone(),
        cache: folder.path().join("hub"),
        token: None,
        offline: false,
    };
    (folder, server, hub)
}

fn resolve(hub: &Hub) -> Result<PathBuf, HubError> {
    resolve_model(hub, MODEL, None, &mut |_| ())
}

fn assert_whole(folder: &Path) {
    for file in MODEL_FILES {
        assert!(
            fs::read(folder.join(file)).unwrap() == content(file),
            "{file}"
        );
    }
}

/// Without a network the model is not there.
fn assert_not_taken_for_whole(hub: &Hub) {
    let offline = Hub {
        offline: true,
        ..hub.clone()
    };
    assert!(matches!(resolve(&offline), Err(HubError::Offline { .. })));
}

#[test]
fn a_folder_is_taken_as_it_is() {
    let (folder, server, hub) = set_up();
    let reference = folder.path().to_str().unwrap();
    assert_eq!(
        resolve_model(&hub, reference, None, &mut |_| ()).unwrap(),
        folder.path()
    );
    assert!(server.requests.lock().unwrap().is_empty());
}

#[test]
fn fetches_once_into_the_layout_that_python_reads() {
    let (_folder, server, hub) = set_up();
    let mut reports = Vec::new();
    let snapshot = resolve_model(&hub, MODEL, None, &mut |Progress { file, done, total }| {
        reports.push((file.to_owned(), done, total));
    })
    .unwrap();

    let repo = hub.cache.join("models--tiny-org--tiny.bert_v2");
    assert_eq!(snapshot, repo.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert!(repo.join("blobs").join(etag("config.json")).is_file());
    assert_whole(&snapshot);
    // Every file comes from the commit, not from the branch, which may move.
    let asked: Vec<_> = MODEL_FILES
        .iter()
        .map(|file| format!("/{MODEL}/resolve/{COMMIT}/{file} bytes=0-"))
        .collect();
    assert_eq!(server.asked(), asked);
    for file in MODEL_FILES {
        assert!(
            reports.contains(&(file.to_owned(), 100_000, 100_000)),
            "{file}"
        );
    }

    assert_eq!(resolve(&hub).unwrap(), snapshot);
    assert_eq!(
        resolve_model(&hub, MODEL, Some(COMMIT), &mut |_| ()).unwrap(),
        snapshot
    );
    assert!(server.requests.lock().unwrap().is_empty());
    assert_eq!(
        resolve(&Hub {
            offline: true,
            ..hub
        })
        .unwrap(),
        snapshot
    );
}

#[test]
fn finds_what_python_has_fetched() {
    let (_folder, server, hub) = set_up();
    let repo = hub.cache.join("models--tiny-org--tiny.bert_v2");
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    for file in MODEL_FILES {
        fs::write(snapshot.join(file), content(file)).unwrap();
    }
    // Asked for by commit, Python leaves no `refs`.
    assert_eq!(
        resolve_model(&hub, MODEL, Some(COMMIT), &mut |_| ()).unwrap(),
        snapshot
    );
    fs::create_dir_all(repo.join("refs/pr")).unwrap();
    fs::write(repo.join("refs/pr/1"), COMMIT).unwrap();
    assert_eq!(
        resolve_model(&hub, MODEL, Some("pr/1"), &mut |_| ()).unwrap(),
        snapshot
    );
    assert!(server.requests.lock().unwrap().is_empty());

    fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    assert_eq!(
        resolve_model(&hub, MODEL, Some(COMMIT), &mut |_| ()).unwrap(),
        snapshot
    );
    assert_eq!(
        server.asked(),
        [format!("/{MODEL}/resolve/{COMMIT}/tokenizer.json bytes=0-")]
    );
    assert_whole(&snapshot);
}

#[test]
fn a_broken_fetch_goes_on_where_it_stopped() {
    let (_folder, server, hub) = set_up();
    server.set("model.safetensors", Manner::Cut(40_000));
    let error = resolve(&hub).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Fetch {
                file: "model.safetensors",
                ..
            }
        ),
        "{error}"
    );
    assert_not_taken_for_whole(&hub);
    server.asked();

    server.set("model.safetensors", Manner::Whole);
    assert_whole(&resolve(&hub).unwrap());
    assert_eq!(
        server.asked(),
        [format!(
            "/{MODEL}/resolve/{COMMIT}/model.safetensors bytes=40000-"
        )]
    );
}

#[test]
fn a_file_of_the_wrong_size_is_deleted() {
    let (_folder, server, hub) = set_up();
    server.set("tokenizer.json", Manner::Cut(40_000));
    resolve(&hub).unwrap_err();
    server.set("tokenizer.json", Manner::IgnoresRange);
    let error = resolve(&hub).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::WrongSize {
                expected: 100_000,
                found: 140_000,
                ..
            }
        ),
        "{error}"
    );
    assert_not_taken_for_whole(&hub);

    assert_whole(&resolve(&hub).unwrap());
}

#[test]
fn a_leftover_with_nothing_left_to_ask_for_is_fetched_anew() {
    for bytes in [100_000, 100_001] {
        let (_folder, _server, hub) = set_up();
        let blobs = hub.cache.join("models--tiny-org--tiny.bert_v2/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(
            blobs.join(etag("config.json")).with_extension("part"),
            vec![0; bytes],
        )
        .unwrap();
        assert_whole(&resolve(&hub).unwrap());
    }
}

#[test]
fn every_failure_says_what_was_wanted_and_the_way_out() {
    let (folder, server, hub) = set_up();
    let check = |error: HubError, parts: &[&str]| {
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "`{part}` in: {text}");
        }
    };
    let files = "`config.json`, `tokenizer.json`, `model.safetensors` as `--backbone DIR`";

    for status in [401, 403, 404] {
        server.set("tokenizer.json", Manner::Status(status));
        let status = format!("status {status}");
        check(
            resolve(&hub).unwrap_err(),
            &[
                MODEL,
                "`tokenizer.json`",
                &hub.endpoint,
                "`main`",
                &status,
                files,
            ],
        );
    }
    server.set("tokenizer.json", Manner::Status(500));
    let error = resolve(&hub).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("500"));
    check(error, &[MODEL, "`tokenizer.json`", &hub.endpoint, files]);
    assert_not_taken_for_whole(&hub);

    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let unreachable = Hub {
        endpoint: format!("http://{port}"),
        ..hub.clone()
    };
    check(
        resolve(&unreachable).unwrap_err(),
        &[MODEL, &unreachable.endpoint, files],
    );

    let offline = Hub {
        offline: true,
        ..hub.clone()
    };
    let cache = hub.cache.to_str().unwrap();
    check(
        resolve(&offline).unwrap_err(),
        &[
            MODEL,
            "`main`",
            cache,
            "HF_HUB_OFFLINE",
            files,
            "metashot download",
        ],
    );

    let file = folder.path().join("model.safetensors");
    fs::write(&file, "").unwrap();
    let error = resolve_model(&hub, file.to_str().unwrap(), None, &mut |_| ()).unwrap_err();
    check(error, &["is a file", "model.safetensors", "`config.json`"]);

    // The cache cannot be made where a file is.
    let no_cache = Hub { cache: file, ..hub };
    check(
        resolve(&no_cache).unwrap_err(),
        &[MODEL, no_cache.cache.to_str().unwrap(), files],
    );
}

#[test]
fn names_that_cannot_be_on_the_hub_are_not_asked_for() {
    let (_folder, server, hub) = set_up();
    for reference in [
        "",
        "bert",
        "./no/such",
        "a/b/c",
        "../a",
        "a/..",
        "a b/c",
        "a/b.",
        "-a/b",
        "a//b",
        "C:\\a/b",
        "a/b--c",
    ] {
        let error = resolve_model(&hub, reference, None, &mut |_| ()).unwrap_err();
        assert!(
            matches!(error, HubError::NotAModel { .. }),
            "{reference}: {error}"
        );
    }
    for revision in ["", "/", "../../x", "a//b", "a b", "a?b", ".hidden"] {
        let error = resolve_model(&hub, MODEL, Some(revision), &mut |_| ()).unwrap_err();
        assert!(
            matches!(error, HubError::NotARevision { .. }),
            "{revision}: {error}"
        );
    }
    assert!(server.requests.lock().unwrap().is_empty());
    for name in [
        "google-bert/bert-base-uncased",
        "sentence-transformers/all-MiniLM-L6-v2",
        "a/b_c.d",
        "_x/y",
    ] {
        assert!(is_model_name(name), "{name}");
    }
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let saved = tempfile::tempdir().unwrap();
    fs::write(saved.path().join("token"), "saved\n").unwrap();
    let saved = saved.path().to_str().unwrap();
    let read = |vars: &[(&str, &str)], home: Option<&str>| {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        Hub::from_vars(
            |name| vars.get(name).map(OsString::from),
            home.map(PathBuf::from),
        )
    };
    let cache = |vars: &[(&str, &str)]| read(vars, Some("home")).unwrap().cache;

    assert_eq!(cache(&[]), Path::new("home/.cache/huggingface/hub"));
    assert_eq!(
        cache(&[("HF_HOME", "")]),
        Path::new("home/.cache/huggingface/hub")
    );
    assert_eq!(
        cache(&[("XDG_CACHE_HOME", "x")]),
        Path::new("x/huggingface/hub")
    );
    assert_eq!(
        cache(&[("XDG_CACHE_HOME", "x"), ("HF_HOME", "h")]),
        Path::new("h/hub")
    );
    assert_eq!(
        cache(&[("HF_HOME", "h"), ("HF_HUB_CACHE", "c")]),
        Path::new("c")
    );
    assert!(matches!(read(&[], None), Err(HubError::NoHome)));
    assert!(read(&[("HF_HUB_CACHE", "c")], None).is_ok());

    let hub = read(&[], Some("home")).unwrap();
    assert_eq!(
        (hub.endpoint.as_str(), hub.token, hub.offline),
        ("https://huggingface.co", None, false)
    );
    let hub = read(
        &[
            ("HF_ENDPOINT", "http://a/"),
            ("HF_HOME", saved),
            ("HF_HUB_OFFLINE", "1"),
        ],
        None,
    )
    .unwrap();
    assert_eq!(
        (hub.endpoint.as_str(), hub.token.as_deref(), hub.offline),
        ("http://a", Some("saved"), true)
    );
    let hub = read(
        &[
            ("HF_TOKEN", "mine"),
            ("HF_HOME", saved),
            ("HF_HUB_OFFLINE", "0"),
        ],
        None,
    )
    .unwrap();
    assert_eq!((hub.token.as_deref(), hub.offline), (Some("mine"), false));
}
