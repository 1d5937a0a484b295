# shellcheck shell=bash
# Real evidence for the tests of `evidence/`: taken from published packages, pinned by version and by the SHA-256 of
# each file, and kept in the target folder. It is other people's, so it is not in the tree.
#
# Sourced, never run. Needs common.sh.

# The crates are dependencies of the tests (their versions stand in Cargo.toml), so cargo has their sources; the Python
# package comes through pip, whatever index it is configured for.
EVIDENCE_WHEEL='nv-local-gpu-verifier==2.7.3'
EVIDENCE_WHEEL_SHA256=27259ce3d828ca102db17f4b70c7b85c1882a55f99153eb706fcb1866db0fe7a

# evidence_sample_table: SHA-256, package, file in it, and name among the samples.
evidence_sample_table() {
    cat <<'TABLE'
f8b81014b6e443609746822194910f5dc1c92c322fa0584298d1e33e505ca3b5  dcap-qvl  sample/sgx_quote  sgx_quote
bdd694bbe50f3a2a1cfe12f9e2bd83125921107a368edcf10780a5523b8501ce  dcap-qvl  sample/sgx_quote_collateral.json  sgx_quote_collateral.json
c42f9164325024bca2757bc8819b11879a0a369132ea4e2b7c85df4805ea72db  dcap-qvl  sample/tdx_quote  tdx_quote
b0a5f5fd620a8881b1eda45261fdf30dd930b49aff93231556645c81fcb4c0bc  dcap-qvl  sample/tdx_quote_collateral.json  tdx_quote_collateral.json
4c453ea417a7863ed67c215fe4735d91e26f359c760e5984a277866d8d5758e9  dcap-qvl  sample/tdx_quote_outdated  tdx_quote_outdated
05e91466e56352166c15a73654147c3d95d6f4ffa62bd150c3c8cbb1d75c3b15  dcap-qvl  sample/tdx_quote_outdated_collateral.json  tdx_quote_outdated_collateral.json
fd88575b046315787daac21cb3657d03d95d74760a9c5006ad689fa5c2c498f7  dcap-qvl  sample/tdx_quote_td15ex  tdx_quote_td15ex
29e1cb0c2dc98c2cc7f241cc142bdf9d61dee288276d33ae45d5fb2b6b5cc0b0  dcap-qvl  sample/tdx_quote_td15ex_collateral.json  tdx_quote_td15ex_collateral.json
44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3  dcap-qvl  src/TrustedRootCA.der  intel_root.der
3d956e9104969a038031a6b63dd6c4b60000619d37702065994f7da76f88ae7d  sev  tests/certs_data/report_milan.hex  report_milan.hex
3bbfb6ee259f75a95d13168cfdf2e034181bb93c7c016825731cbe8ea16c95e1  sev  tests/certs_data/vcek_milan.der  vcek_milan.der
22e62f8d2c21a156470145fc75f7b5a377cb053ced3e97f0bd3f8d8ca5941ce6  sev  tests/certs_data/cert_chain_milan  cert_chain_milan.pem
a4a6abff1c435f214cfbc35e4dadae55e467454d53dc417251b3ff1a169fd7fb  sev  tests/certs_data/vcek_turin.der  vcek_turin.der
cc9a52fbed3fbc6e4a0a50149a541a75938f975658909c2a6084767829b36e85  sev  tests/certs_data/cert_chain_turin  cert_chain_turin.pem
96bff94e97e2b7ddf4bf3b9b7f780f94a46b8c51f52abfdcc283be7df36ce405  sev  src/certs/snp/builtin/genoa/ark.pem  ark_genoa.pem
22fea250e0390b22008c9a415f4bd915ae8cef4a240f9d21702e84eb250b9186  sev  src/certs/snp/builtin/genoa/ask.pem  ask_genoa.pem
e84e0073010b540efa21e1ac3ce052746df57d8bb1d375be7c14f5db43807fcd  nv  verifier/samples/hopperAttestationReport.txt  hopper_report.hex
6a374ded27aaf208e76a211b539c4611f2d9a5774057703f21576c06d8bdf042  nv  verifier/samples/hopperCertChain.txt  hopper_chain.pem
6e6e91e84068cb7de2c715ca73d6df168a16b23d96a895b42e553b297a471bfc  nv  verifier/certs/verifier_device_root.pem  nvidia_root.pem
7e8ea28e7961a9ef83b87ca5c5685312014eae871977b720ae08553aa917bc50  nv  verifier/samples/1010_0200_882_96005E0001_PROD.swidtag  rim_1010_0200_882_96005E0001.xml
TABLE
}

# have_evidence_samples FOLDER: succeeds if every sample is there with its hash.
have_evidence_samples() {
    local folder="$1"
    [[ -d "$folder" ]] &&
        (cd "$folder" && evidence_sample_table | awk '{ print $1 "  " $4 }' | sha256sum --check --status 2>/dev/null)
}

# crate_folder NAME: where cargo has the sources of the version that Cargo.lock names.
crate_folder() {
    local manifest
    manifest="$(cd "$ASSAY_ROOT" && cargo metadata --format-version 1 --locked |
        jq --raw-output --arg name "$1" '.packages[] | select(.name == $name) | .manifest_path')" ||
        die "cargo could not say where the sources of the crate $1 are: is there a network for the first fetch?"
    [[ -f "$manifest" ]] || die "cargo knows no crate $1, whose files the tests of evidence/ verify."
    dirname -- "$manifest"
}

# fetch_evidence_wheel FOLDER: downloads the Python package and unpacks it there.
fetch_evidence_wheel() {
    local folder="$1"
    printf '%s --hash=sha256:%s\n' "$EVIDENCE_WHEEL" "$EVIDENCE_WHEEL_SHA256" >"$folder/requirements.txt"
    quietly "$folder/pip.log" python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
        --dest "$folder" --requirement "$folder/requirements.txt" ||
        die "pip could not download $EVIDENCE_WHEEL, whose GPU evidence the tests of evidence/ verify."
    python3 -m zipfile -e "$folder"/nv_local_gpu_verifier-*.whl "$folder/wheel"
}

# ensure_evidence_samples FOLDER: puts all samples there, or ends with a sentence that says which one is missing.
ensure_evidence_samples() {
    local folder="$1" fetched sha256 package file name source dcap_qvl sev
    have_evidence_samples "$folder" && return 0
    say "Fetching the real evidence that the tests of evidence/ verify."
    dcap_qvl="$(crate_folder dcap-qvl)"
    sev="$(crate_folder sev)"
    mkdir -p -- "$folder"
    fetched="$(mktemp -d "${TMPDIR:-/tmp}/assay-evidence.XXXXXX")"
    fetch_evidence_wheel "$fetched"
    while read -r sha256 package file name; do
        case "$package" in
            dcap-qvl) source="$dcap_qvl/$file" ;;
            sev) source="$sev/$file" ;;
            nv) source="$fetched/wheel/$file" ;;
            *) die "the table of evidence samples names an unknown package: $package" ;;
        esac
        [[ -f "$source" ]] || die "the package $package has no file $file, which the tests of evidence/ verify."
        printf '%s  %s\n' "$sha256" "$source" | sha256sum --check --status ||
            die "the file $file of the package $package is another one than the tests of evidence/ were written for."
        cp -- "$source" "$folder/$name"
        chmod 0644 -- "$folder/$name"
    done < <(evidence_sample_table)
    rm -rf -- "$fetched"
    have_evidence_samples "$folder" || die "the samples of evidence in $folder are not complete."
}
