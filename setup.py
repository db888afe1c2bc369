"""Packaging of cosernn_tf; the exact versions that CI tests are in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "cosernn_tf/__init__.py").read_text("utf-8"), re.MULTILINE
)
assert VERSION is not None

setup(
    name="cosernn_tf",
    version=VERSION.group(1),
    description="CoSeRNN: contextual and sequential user embeddings for music recommendation",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(exclude=["tests", "tests.*", "benchmarks", "benchmarks.*"]),
    package_data={
        "cosernn_tf": ["py.typed", "serving/page/*"],
        "experiments": ["*.flags", "*/*.flags", "reporting/templates/*"],
    },
    # ScaNN's wheels are built for one TensorFlow and few Pythons: these ranges are what was tested.
    python_requires=">=3.11,<3.12",
    install_requires=[
        "absl-py>=2.1",
        "apache-beam>=2.77,<2.78",
        "gensim>=4.4,<5",
        "google-crc32c>=1.5",
        "h5py>=3.10",
        "jinja2>=3.1,<4",
        "keras>=3.12,<4",
        "markupsafe>=2.1",
        "matplotlib>=3.9",
        "numpy>=2.0,<3",
        "pyarrow>=18",
        "scann[tf]>=1.4.2,<1.5",
        "scipy>=1.13",
        "tensorboard>=2.20,<2.21",
        "tensorflow>=2.20,<2.21",
        "tensorflow-datasets>=4.9.9,<5",
        "tqdm>=4.66",
    ],
    extras_require={
        "benchmark": ["faiss-cpu>=1.9", "hnswlib>=0.8"],
        "dev": [
            "axe-playwright-python>=0.1.8,<0.2",
            "hypothesis",
            "mypy",
            "playwright>=1.60,<2",
            "polars",
            "pytest>=8",
            "pytest-xdist>=3.8,<4",
            "pytrec-eval-terrier>=0.5.8,<0.6",
            "ruff",
            "schemathesis>=4.32,<5",
        ],
        "serve": [
            "fastapi>=0.165,<1",
            "fastapi-offline>=1.7,<2",  # Swagger UI's files, for /docs without a network
            "httptools>=0.8",
            "orjson>=3.11",
            "prometheus-client>=0.24",
            "pydantic>=2.12,<3",
            "redis>=7",
            "starlette>=1.0,<2",
            "uvicorn>=0.40",
            "uvloop>=0.22",
        ],
        "tuning": ["optuna>=5.0,<6"],
    },
    entry_points={
        "console_scripts": [
            "cosernn-sessionize = beam_pipelines.sessionize:entry_point",
            "cosernn-synthesize = beam_pipelines.synthesize:entry_point",
            "cosernn-describe = beam_pipelines.describe:entry_point",
            "cosernn-embed-tracks = cosernn_tf.embed_tracks:entry_point",
            "cosernn-train = cosernn_tf.train:entry_point",
            "cosernn-analyze = cosernn_tf.analyze:entry_point",
            "cosernn-evaluate = cosernn_tf.evaluate:entry_point",
            "cosernn-build-index = cosernn_tf.build_index:entry_point",
            "cosernn-recommend = cosernn_tf.recommend:entry_point",
            "cosernn-serve = cosernn_tf.serve:entry_point",
            "cosernn-worker = beam_pipelines.worker:entry_point",
        ]
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
