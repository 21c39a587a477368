# shellcheck shell=bash
# What a folder must know of this machine to reach the same registries: nothing else goes with it. Sourced by `run` and `enter`.

# Names, in the environment, of what tells clients where registries are and whom to trust.
carried_variables='^(https?_proxy|no_proxy|all_proxy|HTTPS?_PROXY|NO_PROXY|ALL_PROXY'
carried_variables+='|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GIT_SSL_CAINFO'
carried_variables+='|PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|CERT|DEFAULT_TIMEOUT|CONFIG_FILE)|(npm_config|NPM_CONFIG)_.*'
carried_variables+='|GO(PROXY|SUMDB|NOSUMDB|NOSUMCHECK|NOPROXY|PRIVATE|INSECURE|AUTH|TOOLCHAIN|FLAGS)'
carried_variables+='|CARGO_(HTTP|NET|REGISTRY|REGISTRIES|SOURCE)_.*|RUSTUP_(DIST_SERVER|UPDATE_ROOT|AUTO_INSTALL))$'

# settings_of_environment: NAME=VALUE, each ended by a zero byte.
settings_of_environment() {
  local pair
  while IFS= read -rd '' pair; do
    if [[ ${pair%%=*} =~ $carried_variables ]]; then printf '%s\0' "$pair"; fi
  done < <(env -0)
}

# apt_sources SUITE: this machine's archives of that Debian, one `deb` line each.
apt_sources() {
  apt-get indextargets --format "deb \$(REPO_URI) \$(CODENAME) \$(COMPONENT)|\$(ORIGIN)" 'Created-By: Packages' 2>/dev/null |
    awk -F'|' -v suite="$1" '$2 == "Debian" && $1 ~ " " suite { print $1 }' | sort -u
}

# debian_archive SUITE: the first of them that has the suite itself.
debian_archive() { apt_sources "$1" | awk -v suite="$1" '$3 == suite { print $2; exit }'; }

# carry FOLDER PATH: a file or folder of this machine, at the same place.
carry() {
  [ -e "$2" ] || return 0
  mkdir -p "$1$(dirname "$2")"
  cp -rL "$2" "$1$(dirname "$2")/"
}

# carry_settings FOLDER: host names, certificates that this machine trusts, and the clients' own files.
carry_settings() {
  local folder=$1 file home
  for file in /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates /etc/pip.conf; do carry "$folder" "$file"; done
  chroot "$folder" update-ca-certificates >/dev/null 2>&1 || return
  for file in $(grep -lE '^Acquire' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null); do carry "$folder" "$file"; done
  [ -n "${MIRROR:-}" ] || apt_sources "$suite" >"$folder/etc/apt/sources.list"
  home=$(realpath -m "$HOME")
  mkdir -p "$folder/root"
  for file in .npmrc .config/pip .pip .config/go/env .cargo/config .cargo/config.toml .gitconfig; do
    [ -e "$home/$file" ] || continue
    mkdir -p "$(dirname "$folder/root/$file")"
    cp -rL "$home/$file" "$(dirname "$folder/root/$file")/"
  done
}
