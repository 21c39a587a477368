//! Jobs on disk: three files each, in a folder that outlives the container.
//!
//! `ID.job` says how it stands and changes by renaming; `ID.request` and `ID.answer` are the bodies, byte for byte. The first is
//! written last, so that a job is there whole or not at all: what a kill has left without one is cleared away at the next start.
//! Files are readable by the sidecar's user alone (0600): they hold prompts and what models said. They never hold a key, as no job's
//! headers do ([`bowsprit_core::jobs::ask`]).

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bowsprit_core::jobs::Job;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

/// The most that a file about one job may hold, bytes: its headers and its answer's.
const MOST: u64 = 256 << 10;
/// The longest list of an answer's headers, bytes; what is beyond is left out.
const HEADERS: usize = 16 << 10;

/// Where they are.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
}

/// What a caller said beside the body.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Said {
    headers: Vec<(String, String)>,
}

/// The head of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    job: Job,
    #[serde(default)]
    said: Said,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut bytes = 0;
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .take_while(|(name, value)| {
            bytes += name.len() + value.len();
            bytes <= HEADERS
        })
        .collect()
}

fn map(pairs: &[(String, String)]) -> HeaderMap {
    pairs
        .iter()
        .filter_map(|(name, value)| HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok()))
        .collect()
}

impl Said {
    /// These headers.
    pub fn new(headers: &HeaderMap) -> Self {
        Self {
            headers: pairs(headers),
        }
    }

    /// As they go with the request.
    pub fn headers(&self) -> HeaderMap {
        map(&self.headers)
    }
}

impl Answer {
    /// This head.
    pub fn new(status: u16, headers: &HeaderMap) -> Self {
        let headers = pairs(headers);
        Self { status, headers }
    }

    /// Its headers.
    pub fn headers(&self) -> HeaderMap {
        map(&self.headers)
    }
}

impl Files {
    /// Those in the folder `dir`, and the jobs there. One that cannot be read is taken away: nobody could fetch it.
    ///
    /// # Errors
    /// The folder is there and cannot be listed.
    pub fn open(dir: PathBuf) -> io::Result<(Self, Vec<Job>)> {
        let mut jobs = Vec::new();
        let listed = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self { dir }, jobs)),
            listed => listed?,
        };
        let paths: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let has = |path: &Path, ending: &str| path.extension().is_some_and(|it| it == ending);
        for path in paths.iter().filter(|path| has(path, "job")) {
            let text = crate::files::read(path, MOST);
            match text.and_then(|text| serde_json::from_str::<Record>(&text).map_err(|error| error.to_string())) {
                Ok(record) if path.file_stem().is_some_and(|stem| stem == &*record.job.id) => jobs.push(record.job),
                Ok(_) => {
                    tracing::warn!(file = %path.display(), "a job's file has another job's name: it is taken away");
                }
                // The problem names a place in the file, and quotes nothing of a request: that is in another.
                Err(problem) => {
                    tracing::warn!(file = %path.display(), problem, "a job's file cannot be read: it is taken away");
                }
            }
        }
        let known: HashSet<&str> = jobs.iter().map(|job| &*job.id).collect();
        for path in &paths {
            let is_known = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .is_some_and(|stem| known.contains(stem));
            if !is_known || has(path, "new") {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok((Self { dir }, jobs))
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{id}.{ending}"))
    }

    /// Writes a new job: it is on the disk when this returns.
    ///
    /// # Errors
    /// It is not, and nothing of it is left.
    pub async fn add(&self, job: &Job, said: Said, request: &[u8]) -> io::Result<()> {
        let written = async {
            self.make_dir().await?;
            self.write(&self.path(&job.id, "request"), request).await?;
            let record = Record {
                job: job.clone(),
                said,
                answer: None,
            };
            self.replace(&record).await
        };
        let written = written.await;
        if written.is_err() {
            self.remove(&job.id).await;
        }
        written
    }

    async fn make_dir(&self) -> io::Result<()> {
        if fs::try_exists(&self.dir).await? {
            return Ok(());
        }
        let dir = self.dir.clone();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    /// Writes how a job stands; its answer stays as it is where none is told.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn update(&self, job: &Job, answer: Option<Answer>) -> io::Result<()> {
        let mut record = self.record(&job.id).await?;
        record.job = job.clone();
        record.answer = answer.or(record.answer);
        self.replace(&record).await
    }

    /// Writes an answer, and how its job stands with it.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn answer(&self, job: &Job, head: Answer, body: &[u8]) -> io::Result<()> {
        let path = self.path(&job.id, "answer");
        let written = match self.write(&path, body).await {
            Ok(()) => self.update(job, Some(head)).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            let _ = fs::remove_file(&path).await;
        }
        written
    }

    /// What goes with its request, and the head of its answer where there is one.
    ///
    /// # Errors
    /// Its file is not there, or not as it was written.
    pub async fn read(&self, id: &str) -> io::Result<(Said, Option<Answer>)> {
        let record = self.record(id).await?;
        Ok((record.said, record.answer))
    }

    /// The body of its request.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn request(&self, id: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(id, "request")).await
    }

    /// The body of its answer.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn answer_body(&self, id: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(id, "answer")).await
    }

    /// Takes all of a job away. Its own file first: without it the others are nothing.
    pub async fn remove(&self, id: &str) {
        for ending in ["job", "request", "answer"] {
            let _ = fs::remove_file(self.path(id, ending)).await;
        }
    }

    async fn record(&self, id: &str) -> io::Result<Record> {
        let text = fs::read(self.path(id, "job")).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Puts a job's own file in place of the one before, on the disk.
    async fn replace(&self, record: &Record) -> io::Result<()> {
        let (unfinished, path) = (self.path(&record.job.id, "new"), self.path(&record.job.id, "job"));
        let written = match self.write(&unfinished, &serde_json::to_vec(record)?).await {
            Ok(()) => fs::rename(&unfinished, &path).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished).await;
            return Err(error);
        }
        File::open(&self.dir).await?.sync_all().await
    }

    async fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = OpenOptions::from(options).open(path).await?;
        file.write_all(bytes).await?;
        file.flush().await?;
        file.sync_all().await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bowsprit_core::jobs::Status;

    use super::*;

    fn job(id: &str) -> Job {
        Job {
            id: id.into(),
            key: None,
            digest: None,
            path: "/v1/messages".into(),
            created: 1,
            deadline: 2,
            expires: 3,
            max_attempts: 1,
            request_bytes: 2,
            answer_bytes: 0,
            attempts: 0,
            status: Status::Queued,
            next: 1,
            ended: None,
            heard: None,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_job_is_there_after_a_restart_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("jobs");
        let (files, none) = Files::open(folder.clone()).unwrap();
        assert!(none.is_empty());
        let mut headers = HeaderMap::new();
        headers.insert("x-team", HeaderValue::from_static("shop"));
        files.add(&job("a"), Said::new(&headers), b"{}").await.unwrap();
        let done = Job {
            status: Status::Done,
            ..job("a")
        };
        files.answer(&done, Answer::new(200, &headers), b"yes").await.unwrap();
        let (files, jobs) = Files::open(folder.clone()).unwrap();
        assert_eq!(jobs, [done]);
        let (said, answer) = files.read("a").await.unwrap();
        assert_eq!((said.headers(), answer.unwrap().headers()), (headers.clone(), headers));
        assert_eq!(files.request("a").await.unwrap(), b"{}");
        assert_eq!(files.answer_body("a").await.unwrap(), b"yes");
        for name in names(&folder) {
            let mode = std::fs::metadata(folder.join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        files.remove("a").await;
        assert!(names(&folder).is_empty());
    }

    #[tokio::test]
    async fn what_a_kill_left_half_done_is_cleared_away_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = Files::open(dir.path().into()).unwrap();
        files.add(&job("whole"), Said::default(), b"{}").await.unwrap();
        let whole = std::fs::read(dir.path().join("whole.job")).unwrap();
        for length in 0..whole.len() {
            std::fs::write(dir.path().join("cut.job"), &whole[..length]).unwrap();
            std::fs::write(dir.path().join("cut.request"), "{}").unwrap();
            std::fs::write(dir.path().join("whole.new"), &whole[..length]).unwrap();
            std::fs::write(dir.path().join("early.request"), "{").unwrap();
            std::fs::write(dir.path().join("other.job"), &whole).unwrap();
            let (_, jobs) = Files::open(dir.path().into()).unwrap();
            assert_eq!(jobs, [job("whole")], "{length} bytes");
            assert_eq!(names(dir.path()), ["whole.job", "whole.request"], "{length} bytes");
        }
    }

    #[tokio::test]
    async fn a_full_disk_promises_nothing_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = Files::open(dir.path().into()).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("a.request")).unwrap();
        let error = files.add(&job("a"), Said::default(), b"{}").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(names(dir.path()).is_empty());
    }
}
