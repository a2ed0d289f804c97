"""Compulsory traffic of every library cascade against closed forms written out by hand."""

from __future__ import annotations

import pytest

from workloads.cascades import cascade_names, load_cascade
from workloads.einsum import compulsory_traffic, resolve_sizes

ROW = {"t": 7, "d": 11}
ATTENTION = {"b": 2, "h": 3, "g": 5, "p": 7, "m": 600, "e": 11, "f": 13}
GQA = "Q=b*h*g*p*e K=b*h*m*e V=b*h*m*f AV=b*h*g*p*f"
MLA = "QN=b*h*p*e QR=b*h*p*r C=b*m*c KR=b*m*r WUK=h*c*e WUV=h*c*f AV=b*h*p*f"
LATENT = {"b": 2, "h": 3, "p": 5, "m": 19, "c": 7, "e": 11, "f": 13, "r": 17}
FFN = "X=t*d WU=d*s WD=s*d Y=t*d"
GATED = "G=t*s U=t*s H=t*s"
NORM = "X=t*d G=d B=d Y=t*d"
POINTS = {"t": 7, "s": 13}
SCAN = {"h": 3, "t": 5, "e": 7, "f": 11}
CHUNKS = {"h": 3, "n": 4, "c": 5, "j": 5, "e": 7, "f": 11}
SPARSE = {"m": 30, "k": 40, "n": 50, "da": 0.1, "db": 0.3}

# name: sizes and the closed forms
FORMS: dict[str, tuple[dict[str, float], str]] = {
    "add-layer-norm": (ROW, "X=t*d R=t*d G=d B=d S=t*d Y=t*d"),
    "add-rms-norm": (ROW, "X=t*d R=t*d G=d S=t*d Y=t*d"),
    "attention-1pass": (ATTENTION, GQA),
    "attention-1pass-causal": (ATTENTION, GQA),
    "attention-1pass-dequantise": (
        ATTENTION, "Q=b*h*g*p*e KI=b*h*m*e KS=b*h*m VI=b*h*m*f VS=b*h*m AV=b*h*g*p*f",
    ),
    "attention-1pass-lse": (ATTENTION, GQA + " LSE=b*h*g*p"),
    "attention-2pass": (ATTENTION, GQA),
    "attention-2pass-causal": (ATTENTION, GQA),
    "attention-3pass": (ATTENTION, GQA),
    "attention-3pass-causal": (ATTENTION, GQA),
    # Seven queries with windows of 20 keys that shift by one see 26 keys.
    "attention-1pass-window": (ATTENTION | {"window": 20}, "Q=b*h*g*p*e K=b*h*26*e V=b*h*26*f AV=b*h*g*p*f"),
    "attention-3pass-window": (ATTENTION | {"window": 20}, "Q=b*h*g*p*e K=b*h*26*e V=b*h*26*f AV=b*h*g*p*f"),
    "attention-1pass-sink": (ATTENTION, GQA + " SINK=h*g"),
    "attention-3pass-sink": (ATTENTION, GQA + " SINK=h*g"),
    "attention-1pass-block-sparse": (ATTENTION | {"p0": 2, "m0": 50, "kept": 0.5}, GQA + " BM=4*12*0.5"),
    "attention-1pass-paged": (
        {"b": 2, "h": 3, "g": 5, "p": 1, "e": 11, "f": 13, "x": 100, "m1": 9, "m0": 16},
        "Q=b*h*g*e K=b*m1*h*m0*e V=b*m1*h*m0*f PT=b*m1 LEN=b AV=b*h*g*f",
    ),
    "attention-merge": ({"x": 2, "p": 3, "f": 5}, "AVX=x*p*f LSE=x*p AV=p*f"),
    "attention-backward": (ATTENTION, GQA + " DAV=b*h*g*p*f LSE=b*h*g*p DQ=b*h*g*p*e DK=b*h*m*e DV=b*h*m*f"),
    "attention-elementwise": ({"b": 2, "h": 3, "m": 5, "p": 7, "e": 11}, "Q=b*m*h*e K=b*p*h*e V=b*p*h*e AV=b*m*h*e"),
    "attention-distributed": ({"x": 2, "h": 3, "p": 5, "m": 7, "e": 11, "f": 13},
                              "Q=h*p*e K=x*h*m*e V=x*h*m*f AV=h*p*f"),
    "attention-shared-prefix": (
        {"b": 2, "h": 3, "p": 5, "s": 17, "m": 7, "e": 11, "f": 13},
        "Q=b*h*p*e KS=h*s*e VS=h*s*f K=b*h*m*e V=b*h*m*f AV=b*h*p*f",
    ),
    "batched-gemm": ({"h": 2, "m": 3, "n0": 5, "n1": 7}, "A=h*m*n0 W=h*n0*n1 Z=h*m*n1"),
    "cache-append": ({"t": 3, "k": 5}, "K=t*k V=t*k KC=t*k VC=t*k"),
    # Stride 1 and 3 x 2 filters on 9 x 8 pixels: 7 x 7 results, every pixel seen.
    "convolution": ({"b": 2, "c": 3, "h": 9, "w": 8, "k": 5, "r": 3, "s": 2}, "I=b*c*h*w F=k*c*r*s O=b*k*7*7"),
    "convolution-depthwise": ({"b": 2, "c": 3, "h": 9, "w": 8, "r": 3, "s": 2}, "I=b*c*h*w F=c*r*s O=b*c*7*7"),
    "convolution-patch": ({"b": 2, "c": 3, "h": 9, "w": 8, "r": 3, "s": 2, "d": 5}, "I=b*c*h*w W=c*r*s*d E=b*3*4*d"),
    "convolution-causal": ({"t": 9, "d": 5, "r": 3}, "X=t*d F=r*d Y=t*d"),
    "cross-entropy": (ROW | {"v": 50}, "X=t*d C=d*v LAB=t LOSS=t"),
    "cut-cross-entropy": (ROW | {"v": 50}, "X=t*d C=d*v LAB=t LOSS=t"),
    "cross-entropy-backward": (ROW | {"v": 50}, "X=t*d C=d*v LAB=t LSE=t DX=t*d DC=d*v"),
    # 24 rows in groups of 8.
    "dequantise": ({"n0": 24, "n1": 5, "k": 8}, "WI=n0*n1 S=3*n1 W=n0*n1"),
    "embedding": (ROW | {"v": 50}, "T=t E=t*d X=t*d"),
    "ffn-gelu": (ROW | {"s": 13}, FFN),
    "ffn-relu": (ROW | {"s": 13}, FFN),
    "ffn-squared-relu": (ROW | {"s": 13}, FFN),
    "ffn-swiglu": (ROW | {"s": 13}, FFN + " WG=d*s"),
    "ffn-swiglu-backward": (ROW | {"s": 13},
                            "X=t*d WG=d*s WU=d*s WD=s*d G=t*s U=t*s DY=t*d DX=t*d DWG=d*s DWU=d*s DWD=s*d"),
    # Seven tokens with one channel each touch seven of the thirteen rows at most.
    "ffn-topk": (ROW | {"s": 13, "k": 1}, "X=t*d WU=d*s WD=7*d Y=t*d"),
    "gated-delta": (SCAN, "Q=h*t*e K=h*t*e V=h*t*f A=h*t B=h*t O=h*t*f"),
    "geglu": (POINTS, GATED),
    "geglu-tanh": (POINTS, GATED),
    "reglu": (POINTS, GATED),
    "swiglu": (POINTS, GATED),
    "swiglu-clamped": (POINTS, GATED),
    "gelu": (POINTS, "U=t*s H=t*s"),
    "gelu-tanh": (POINTS, "U=t*s H=t*s"),
    "quick-gelu": (POINTS, "U=t*s H=t*s"),
    "relu": (POINTS, "U=t*s H=t*s"),
    "silu": (POINTS, "U=t*s H=t*s"),
    "squared-relu": (POINTS, "U=t*s H=t*s"),
    "gemm": ({"m": 3, "n0": 5, "n1": 7}, "A=m*n0 W=n0*n1 Z=m*n1"),
    "gemm-bias": ({"m": 3, "n0": 5, "n1": 7}, "A=m*n0 W=n0*n1 B=n1 Z=m*n1"),
    "channel-scores": (
        {"b": 2, "h": 3, "g": 5, "n": 7, "e": 11, "k": 4}, "Q=b*h*g*e KC=b*h*n*e TI=b*h*g*k",
    ),
    # The hidden width is h * e = 77, the feed-forward width four times that.
    "gpt-layer-10": (
        {"b": 2, "m": 3, "h": 7, "e": 11},
        "I_in=b*m*77 WV=77*77 WK=77*77 WQ=77*77 WZ=77*77 WFFA=77*308 WFFB=308*77 FFB=b*m*77",
    ),
    "gpt-layer-10-decode": (
        {"b": 2, "p": 5, "h": 7, "e": 11},
        "I_in=b*77 WV=77*77 WK=77*77 WQ=77*77 WZ=77*77 WFFA=77*308 WFFB=308*77 FFB=b*77 K=b*77 V=b*77"
        " K_cache=b*p*77 V_cache=b*p*77",
    ),
    "latent-append": ({"t": 3, "a": 5, "r": 7, "i": 2},
                      "Q=t*a*4 K=t*4 C=t*r CS=t*i SN=t*i QL=t*a*i QH=t*a*i KL=t*i KH=t*i CC=t*r"),
    "layer-norm": (ROW, NORM),
    "layer-norm-2pass": (ROW, NORM),
    "layer-norm-welford-apply": (ROW, NORM),
    "layer-norm-welford": (ROW | {"n": 3}, "X=t*d G=d B=d W=d*n Z=t*n"),
    "layer-norm-backward": (ROW, "X=t*d G=d MU=t R=t DY=t*d DX=t*d DG=d DB=d"),
    "linear-attention": (SCAN, "Q=h*t*e K=h*t*e V=h*t*f O=h*t*f"),
    "lut-gemm": ({"t": 3, "d": 24, "n": 5, "u": 4}, "X=t*d IDX=n*6 SCALE=n Y=t*n"),
    "mla-absorbed": (LATENT, MLA),
    "mla-absorbed-1pass": (LATENT, MLA),
    "mla-unabsorbed": (LATENT, MLA),
    "moe": (
        ROW | {"x": 16, "s": 13, "k": 2, "active": 0.5}, "X=t*d WR=d*x WG=8*d*s WU=8*d*s WD=8*s*d Y=t*d",
    ),
    "moe-combine": (ROW | {"k": 2}, "X=t*k*d P=t*k Y=t*d"),
    "moe-expert": ({"x": 2, "c": 3, "d": 5, "s": 7}, "XE=x*c*d WG=x*d*s WU=x*d*s WD=x*s*d YE=x*c*d"),
    "moe-route": ({"t": 3, "x": 5, "k": 2}, "L=t*x TI=t*k P=t*k"),
    # Seven tokens with two experts each reach at most fourteen of sixty.
    "moe-shared": (
        ROW | {"x": 60, "s": 13, "k": 2, "z": 3},
        "X=t*d WR=d*x BIAS=x WG=14*d*s WU=14*d*s WD=14*s*d SG=d*z SU=d*z SD=z*d Y=t*d",
    ),
    "monarch-convolution": ({"b": 2, "i": 12, "n2": 3}, "U=b*i HR=4*3 HI=4*3 Y=b*i"),
    "page-scores": (
        {"b": 2, "h": 3, "g": 5, "n": 7, "e": 11, "k": 4}, "Q=b*h*g*e KMIN=b*h*n*e KMAX=b*h*n*e PI=b*h*g*k",
    ),
    "product-key-memory": (
        {"t": 3, "n": 10, "e": 5, "f": 7, "v": 100, "k": 2}, "QA=t*e QB=t*e KA=n*e KB=n*e VAL=6*f Y=t*f",
    ),
    "residual-add": (ROW, "X=t*d F=t*d Y=t*d"),
    "copy": (ROW, "X=t*d Y=t*d"),
    "multiply": (ROW, "X=t*d F=t*d Y=t*d"),
    "multiply-columns": (ROW, "X=t*d G=d Y=t*d"),
    "multiply-rows": (ROW, "X=t*d R=t Y=t*d"),
    "row-sums": (ROW, "X=t*d S=t"),
    "spread-rows": (ROW, "R=t Y=t*d"),
    "retention": (SCAN, "Q=h*t*e K=h*t*e V=h*t*f G=h O=h*t*f"),
    "rms-norm": (ROW, "X=t*d G=d Y=t*d"),
    "rms-norm-backward": (ROW, "X=t*d G=d R=t DY=t*d DX=t*d DG=d"),
    "rotary": ({"t": 3, "h": 5, "e": 8}, "POS=t X=t*h*e Y=t*h*e"),
    "rotary-append": (
        {"t": 3, "a": 5, "h": 7, "i": 2},
        "Q=t*a*4 K=t*h*4 V=t*h*4 CS=t*i SN=t*i QL=t*a*i QH=t*a*i KL=t*h*i KH=t*h*i VC=t*h*4",
    ),
    "selective-scan": (ROW | {"n": 3}, "X=t*d DT=t*d A=d*n B=t*n C=t*n D=d Y=t*d"),
    "softmax": (ROW, "X=t*d Y=t*d"),
    "softmax-online": (ROW, "X=t*d Y=t*d"),
    "softmax-merge": ({"x": 2, "p": 3, "f": 5}, "LM=x*p LD=x*p LNV=x*p*f AV=p*f"),
    "spgemm-inner": (SPARSE, "A=120 B=600 Z=m*n"),
    "spgemm-outer": (SPARSE, "A=120 B=600 Z=m*n"),
    "spgemm-row-wise": (SPARSE, "A=120 B=600 Z=m*n"),
    "welford": (ROW, "X=t*d MU=t VAR=t"),
    # Training with fewer bits and channels.
    "quantise": ({"t": 3, "n": 64}, "X=t*n Y=t*n"),
    "quantise-blocks": ({"t": 3, "n": 64}, "X=t*n N=t*n Y=t*n S=t*2"),
    "hadamard": ({"t": 3, "n": 128}, "X=t*n SG=n H=4096 Y=t*n"),
    "swiglu-top-k": (POINTS | {"k": 4}, "G=t*s U=t*s GK=t*k UK=t*k CI=t*k ZK=t*k H=t*s"),
    "swiglu-top-k-again": (POINTS | {"k": 4}, "GK=t*k UK=t*k CI=t*k H=t*s"),
    "swiglu-top-k-backward": (POINTS | {"k": 4}, "GK=t*k UK=t*k CI=t*k DH=t*s DG=t*s DU=t*s"),
    "channels-back": (POINTS | {"k": 4}, "ZK=t*k CI=t*k H=t*s"),
    # Training: what a forward operation keeps, the gradients, the update.
    "adam": ({"d": 11}, "P=d M=d V=d G=d PN=d MN=d VN=d W=d"),
    "add-layer-norm-statistics": (ROW, "X=t*d R=t*d G=d B=d S=t*d Y=t*d MU=t IS=t"),
    "add-rms-norm-statistics": (ROW, "X=t*d R=t*d G=d S=t*d Y=t*d IR=t"),
    "layer-norm-statistics": (ROW, NORM + " MU=t R=t"),
    "rms-norm-statistics": (ROW, "X=t*d G=d Y=t*d R=t"),
    "add-layer-norm-backward": (ROW, "S=t*d G=d MU=t IS=t DY=t*d DS=t*d DX=t*d DG=d DB=d"),
    "add-rms-norm-backward": (ROW, "S=t*d G=d IR=t DY=t*d DS=t*d DX=t*d DG=d"),
    "attention-1pass-causal-lse": (ATTENTION, GQA + " LSE=b*h*g*p"),
    "attention-1pass-window-lse": (
        ATTENTION | {"window": 20}, "Q=b*h*g*p*e K=b*h*26*e V=b*h*26*f AV=b*h*g*p*f LSE=b*h*g*p",
    ),
    "attention-backward-full": (ATTENTION, GQA + " DAV=b*h*g*p*f LSE=b*h*g*p DQ=b*h*g*p*e DK=b*h*m*e DV=b*h*m*f"),
    # The gradients of keys that no query sees are written too: they are 0.
    "attention-backward-window": (
        ATTENTION | {"window": 20},
        "Q=b*h*g*p*e K=b*h*26*e V=b*h*26*f AV=b*h*g*p*f DAV=b*h*g*p*f LSE=b*h*g*p DQ=b*h*g*p*e DK=b*h*m*e DV=b*h*m*f",
    ),
    "bias-backward": (ROW, "DY=t*d DB=d"),
    "cut-cross-entropy-lse": (ROW | {"v": 50}, "X=t*d C=d*v LAB=t LOSS=t LSE=t"),
    "embedding-backward": (ROW | {"v": 50}, "T=t DX=t*d DE=v*d"),
    "gated-sum": (ROW, "X=t*d F=t*d S=t Y=t*d"),
    "gated-sum-backward": (ROW, "F=t*d S=t DY=t*d DF=t*d DS=t"),
    "latent-append-backward": (
        {"t": 3, "a": 5, "i": 2}, "DQ=t*a*4 DKA=t*a*4 CS=t*i SN=t*i QL=t*a*i QH=t*a*i KL=t*i KH=t*i",
    ),
    "moe-combine-backward": (ROW | {"k": 2}, "X=t*k*d P=t*k DY=t*d DX=t*k*d DP=t*k"),
    "moe-dispatch-backward": (ROW | {"k": 2}, "DXK=t*k*d DX=t*d"),
    "moe-route-backward": ({"t": 3, "x": 5, "k": 2}, "P=t*k TI=t*k DP=t*k DL=t*x"),
    "rotary-append-backward": (
        {"t": 7, "a": 6, "h": 2, "i": 2},
        "DQ=t*a*4 DK=t*h*4 DV=t*h*4 CS=t*i SN=t*i QL=t*a*i QH=t*a*i KL=t*h*i KH=t*h*i VC=t*h*4",
    ),
    "softmax-cross-entropy": (ROW, "L=t*d LAB=t LOSS=t LSE=t"),
    "softmax-cross-entropy-backward": (ROW, "L=t*d LAB=t LSE=t DL=t*d"),
    **{
        f"{name}-backward": (POINTS, "U=t*s DH=t*s DU=t*s")
        for name in ("gelu", "gelu-tanh", "quick-gelu", "relu", "silu", "squared-relu")
    },
    **{
        f"{name}-backward": (POINTS, "G=t*s U=t*s DH=t*s DG=t*s DU=t*s")
        for name in ("geglu", "geglu-tanh", "reglu", "swiglu", "swiglu-clamped")
    },
    # Linear attention in chunks of tokens (training).
    "linear-attention-chunks": (CHUNKS, "Q=h*n*c*e K=h*n*c*e V=h*n*c*f O=h*n*c*f"),
    "linear-attention-chunks-backward": (
        CHUNKS, "Q=h*n*c*e K=h*n*c*e V=h*n*c*f DO=h*n*c*f DQ=h*n*c*e DK=h*n*c*e DV=h*n*c*f",
    ),
    "linear-attention-inter": (SCAN, "Q=h*t*e M=h*e*f OI=h*t*f O=h*t*f"),
    "linear-attention-inter-backward": (
        SCAN,
        "K=h*t*e V=h*t*f DO=h*t*f M=h*e*f DM=h*e*f DQI=h*t*e DKI=h*t*e DVI=h*t*f DQ=h*t*e DK=h*t*e DV=h*t*f",
    ),
    "linear-attention-state": (SCAN, "K=h*t*e V=h*t*f M=h*e*f"),
    # Attention in separate kernels (training).
    "dropout": ({"t": 4, "d": 7}, "X=t*d F=t*d Y=t*d M=t*d"),
    "dropout-add": ({"t": 4, "d": 7}, "X=t*d F=t*d R=t*d S=t*d M=t*d"),
    "softmax-backward": ({"t": 4, "d": 7}, "Y=t*d DY=t*d DX=t*d"),
    "state-sum": ({"w": 4, "h": 3, "e": 7, "f": 11}, "G=w*h*e*f M=h*e*f"),
}  # fmt: skip


@pytest.mark.parametrize("name", cascade_names())
def test_traffic(name: str) -> None:
    sizes, forms = FORMS[name]
    cascade = load_cascade(name)
    expected = {form.split("=")[0]: eval(form.split("=")[1], {}, dict(sizes)) for form in forms.split()}
    assert compulsory_traffic(cascade, sizes) == pytest.approx(expected)
    assert set(resolve_sizes(cascade, sizes)) >= set(cascade.rank_names)
