//! What editors, downloaders and libraries leave beside the files that they are asked to write.
//!
//! A rule is in the table when the program by itself makes that name on the way to another one, or to keep state of
//! its own, and no agent would call a result so. Names that a program draws at random without a mark of its own
//! (`sedXXXXXX`, mkstemp's `tmpXXXXXXXX`, Qt's `name.XXXXXX`, rsync's `.name.XXXXXX`, the AWS CLI's `name.1a2B3c4D`,
//! Helix's `nameXXXXXX.bck`) cannot be told from a result's: they become artifacts, and the rename that ends the save
//! makes of them what was meant.
//!
//! Without a rule, since what they leave beside a file has no mark of its own or lies elsewhere: micro, Eclipse, RStudio,
//! IDLE, pandas, NumPy, matplotlib, openpyxl, ffmpeg, ImageMagick, pandoc, wget, curl.

/// Pattern, who makes it, and where that is written. Rules without a `/` at their end are for files alone.
pub const BUILT_IN: [(&str, &str, &str); 71] = [
    // Any program.
    (
        "*.tmp",
        "by custom",
        "github/gitignore: Global/MicrosoftOffice, Global/Syncthing; dropbox help: files that do not sync",
    ),
    ("*.temp", "by custom", "github/gitignore: community templates"),
    ("*~", "backups of Emacs, gedit, joe, jed, mcedit, Kate, Krita, GIMP", "github/gitignore: Global/Linux"),
    (
        ".~*",
        "Jupyter (.~name.ipynb), WPS, Nextcloud",
        "jupyter_server services/contents/fileio.py path_to_intermediate; dropbox help",
    ),
    (".tmp??????", "the tempfile crate: cargo, uv, ruff, Zed", "docs.rs tempfile::Builder: prefix .tmp, six letters"),
    // Downloads.
    (
        "*.part",
        "Firefox, yt-dlp, KDE, Transmission",
        "github/gitignore: Global/Linux; yt-dlp downloader/common.py temp_name",
    ),
    ("*.part-Frag*", "yt-dlp", "yt-dlp downloader/fragment.py"),
    ("*.ytdl", "yt-dlp", "yt-dlp downloader/common.py ytdl_filename"),
    ("*.partial", "rclone, Internet Explorer", "rclone docs: --partial-suffix"),
    ("*.crdownload", "Chrome, Edge", "chromium components/download: kCrdownloadSuffix"),
    ("*.opdownload", "Opera", "by observation of its users"),
    ("*.filepart", "WinSCP", "winscp.net: transfer to temporary filename"),
    ("*.aria2", "aria2", "aria2c(1): control file"),
    ("*.incomplete", "huggingface_hub", "huggingface_hub file_download.py"),
    ("*_.gstmp", "gsutil, gcloud storage", "gsutil copy_helper.py, temporary_file_util.py GetTempFileName"),
    (".azDownload-*", "azcopy", "azure-storage-azcopy ste/xfer-remoteToLocal-file.go azcopyTempDownloadPrefix"),
    ("*._COPYING_", "hadoop fs", "hadoop FsShell CommandWithDestination"),
    (".~tmp~/", "rsync --delay-updates", "rsync(1)"),
    // vim: swap files, and the probe it makes to learn whether it may write.
    ("*.swp", "vim, nano (lock)", "vim :help swap-file; github/gitignore: Global/Vim"),
    ("*.swo", "vim", "vim :help swap-file"),
    ("*.swn", "vim", "vim :help swap-file"),
    ("*.swx", "vim", "vim src/memline.c"),
    ("*.swpx", "vim", "vim src/memline.c"),
    ("4913", "vim", "vim src/bufwrite.c"),
    // Emacs: locks and autosaves.
    (".#*", "Emacs, joe, jed, mcedit: locks", "emacs manual: Interlocking; github/gitignore: Global/Emacs"),
    ("\\#*#", "Emacs: autosave", "emacs manual: Auto Save Files"),
    ("DEADJOE", "joe", "joe(1)"),
    // Other editors.
    ("*.kate-swp", "Kate, KWrite, KDevelop", "github/gitignore: Global/Kate"),
    (".goutputstream-*", "GLib: gedit, GNOME Text Editor, Geany", "glib gio/glocalfileoutputstream.c"),
    (".*.kak.??????", "Kakoune", "kakoune src/file.cc open_temp_file"),
    ("*.vsctmp", "VS Code", "vscode platform/files: atomic write, postfix .vsctmp"),
    ("*.crswap", "Chrome's file system access: vscode.dev and the like", "chromium content/browser/file_system_access"),
    ("*___jb_tmp___", "JetBrains: safe write", "intellij-community SafeFileOutputStream.java"),
    ("*___jb_old___", "JetBrains: safe write", "intellij-community SafeFileOutputStream.java"),
    ("*.sb-????????-??????", "macOS: TextEdit, Preview, Xcode", "NSDocument safe saving in the sandbox"),
    (".*-autosave.kra", "Krita", "docs.krita.org: autosave"),
    ("*.blend@", "Blender", "blender source blenloader/intern/writefile.cc"),
    // Office programs.
    (".~lock.*", "LibreOffice, OnlyOffice", "github/gitignore: Global/LibreOffice"),
    ("~$*", "Microsoft Office", "github/gitignore: Global/MicrosoftOffice"),
    ("*.laccdb", "Microsoft Access", "github/gitignore: Global/MicrosoftOffice and its kin"),
    // SQLite: useless without the state of the database they belong to.
    ("*-journal", "SQLite", "sqlite.org/tempfiles.html"),
    ("*-wal", "SQLite", "sqlite.org/tempfiles.html"),
    ("*-shm", "SQLite", "sqlite.org/tempfiles.html"),
    // What file systems make of a deleted file that is open.
    (".nfs*", "NFS", "github/gitignore: Global/Linux"),
    (".fuse_hidden*", "libfuse", "github/gitignore: Global/Linux"),
    (".smbdelete*", "SMB", "darwin smbfs"),
    // Caches that programs make beside what they read.
    ("*.pyc", "Python", "github/gitignore: Python"),
    ("*.pyo", "Python", "github/gitignore: Python"),
    ("__pycache__/", "Python", "github/gitignore: Python"),
    (".pytest_cache/", "pytest", "github/gitignore: Python"),
    (".mypy_cache/", "mypy", "github/gitignore: Python"),
    (".ruff_cache/", "ruff", "github/gitignore: Python"),
    (".hypothesis/", "Hypothesis", "github/gitignore: Python"),
    (".ipynb_checkpoints/", "Jupyter", "github/gitignore: Global/JupyterNotebooks"),
    (".virtual_documents/", "JupyterLab LSP", "jupyterlab-lsp docs: virtual_documents_dir"),
    ("_temporary/", "Hadoop, Spark", "hadoop FileOutputCommitter.PENDING_DIR_NAME"),
    ("*.synctex(busy)", "TeX", "github/gitignore: TeX"),
    ("*.synctex.gz(busy)", "TeX", "github/gitignore: TeX"),
    // Version control.
    (".git/", "git", "gitrepository-layout(5)"),
    (".hg/", "Mercurial", "hgignore(5)"),
    (".svn/", "Subversion", "svnbook"),
    (".jj/", "Jujutsu", "jj docs"),
    // Desktops and synchronizers.
    (".DS_Store", "macOS", "github/gitignore: Global/macOS"),
    ("._*", "macOS: resource forks on foreign disks", "github/gitignore: Global/macOS"),
    ("Thumbs.db", "Windows", "github/gitignore: Global/Windows"),
    ("ehthumbs.db", "Windows", "github/gitignore: Global/Windows"),
    ("desktop.ini", "Windows", "github/gitignore: Global/Windows"),
    (".directory", "KDE", "github/gitignore: Global/Linux"),
    (".Trash-*/", "freedesktop.org trash", "github/gitignore: Global/Linux"),
    ("@eaDir/", "Synology", "github/gitignore: Global/SynologyNAS"),
    (".sync_*.db*", "Nextcloud, ownCloud", "nextcloud client: sync journal"),
];
