//! How fast a bare loop of `PutObject` calls is, with the SDK that outputfs uses: the yardstick of the bench.
//!
//! `put_loop [--files 500] [--size 4096] [--tasks 1,8] [--reps 3]` puts FILES objects of SIZE random bytes with each
//! number of tasks on kept-alive connections, each with its SHA-256 for the server to check, and prints one JSON
//! object: files a second, median and every run. Server and credentials come from `AWS_ENDPOINT_URL`, `BUCKET` and
//! the usual AWS variables.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::Bytes;
use clap::Parser;
use rand::RngCore;
use sha2::{Digest, Sha256};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 500)]
    files: usize,
    /// Bytes.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    tasks: Vec<usize>,
    #[arg(long, default_value_t = 3)]
    reps: usize,
}

#[derive(serde::Serialize)]
struct Measured {
    tasks: usize,
    files: usize,
    size: usize,
    /// Median of the runs.
    files_s: f64,
    runs: Vec<f64>,
}

fn env(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn client() -> Result<Client, Failure> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let credentials = Credentials::new(env("AWS_ACCESS_KEY_ID")?, env("AWS_SECRET_ACCESS_KEY")?, None, None, "env");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(env("AWS_ENDPOINT_URL")?)
        .region(Region::new(env("AWS_REGION")?))
        .credentials_provider(credentials)
        .force_path_style(true)
        // The SHA-256 header is the checksum; without this the SDK would add a CRC of its own.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .build();
    Ok(Client::from_conf(config))
}

async fn put(client: &Client, bucket: &str, key: String, body: Bytes) -> Result<(), Failure> {
    // Hashed inside the timed loop: whoever stores by content has to.
    let sum = aws_smithy_types::base64::encode(Sha256::digest(&body));
    let request = client.put_object().bucket(bucket).key(key).checksum_sha256(sum).body(ByteStream::from(body));
    request.send().await.map_err(aws_sdk_s3::Error::from)?;
    Ok(())
}

/// Seconds for all files.
async fn run(client: &Client, bucket: &str, prefix: &str, tasks: usize, bodies: Arc<[Bytes]>) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for first in 0..tasks {
        let (client, bucket, prefix, bodies) = (client.clone(), bucket.to_owned(), prefix.to_owned(), bodies.clone());
        workers.spawn(async move {
            for at in (first..bodies.len()).step_by(tasks) {
                put(&client, &bucket, format!("{prefix}/{at}"), bodies[at].clone()).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

async fn measure(args: &Args, client: &Client, bucket: &str, prefix: &str, tasks: usize) -> Result<Measured, Failure> {
    // As many connections as tasks, opened before the clock runs.
    let warm = (0..tasks).map(|i| put(client, bucket, format!("{prefix}/warm{i}"), Bytes::from_static(b"warm")));
    futures::future::try_join_all(warm).await?;
    let mut runs = Vec::new();
    for rep in 0..args.reps.max(1) {
        let bodies: Vec<Bytes> = (0..args.files)
            .map(|_| {
                let mut body = vec![0; args.size];
                rand::rng().fill_bytes(&mut body);
                Bytes::from(body)
            })
            .collect();
        let seconds = run(client, bucket, &format!("{prefix}/{tasks}-{rep}"), tasks, bodies.into()).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts of files are far below 2^52")]
        runs.push(args.files as f64 / seconds);
    }
    Ok(Measured { tasks, files: args.files, size: args.size, files_s: median(&runs), runs })
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if args.tasks.contains(&0) {
        return Err("--tasks: at least one".into());
    }
    let (client, bucket) = (client()?, env("BUCKET")?);
    let prefix = format!("put_loop/{:x}", rand::rng().next_u64());
    let mut measured = Vec::new();
    for &tasks in &args.tasks {
        let limit = Duration::from_mins(5);
        let one = tokio::time::timeout(limit, measure(&args, &client, &bucket, &prefix, tasks)).await;
        measured.push(one.map_err(|_| format!("{tasks} tasks took more than {limit:?}"))??);
    }
    println!("{}", serde_json::to_string(&serde_json::json!({ "put_loop": measured }))?);
    Ok(())
}
