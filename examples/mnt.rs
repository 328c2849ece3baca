use outputfs::{
    engine::{open::StoreConfig, store::Store},
    fuse::{MountSpec, mount},
};
fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or("warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let a: Vec<String> = std::env::args().collect();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        let store = Store::open(&StoreConfig::new(&a[1]).unwrap()).await.unwrap();
        let session = a.get(3).filter(|s| !s.is_empty()).map(|s| s.parse().unwrap());
        let mut m = mount(
            store.clone(),
            MountSpec {
                mountpoint: a[2].clone().into(),
                session,
                passthrough: a.get(4).is_none(),
                allow_other: false,
                threads: 2,
            },
        )
        .await
        .unwrap();
        println!("mounted");
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::select! { _ = term.recv() => {}, () = m.ended() => {} }
        m.drain(std::time::Duration::from_secs(20)).await.unwrap();
        m.unmount(false).unwrap();
        store.close().await.unwrap();
    });
}
