# dnamamba with the extras of EXTRAS; see docs/install.md.
#   docker build -t dnamamba .
#   docker run --rm --gpus all -v "$PWD:/data" dnamamba pretrain data.fasta=my.fa trainer=gpu
FROM python:3.12-slim

ARG EXTRAS=cpu,embed,tracks,hub
# What pip is asked for first: torch of PyPI has CUDA.
ARG TORCH=torch==2.13.0

RUN pip install --no-cache-dir ${TORCH}
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE hatch_build.py ./
COPY dnamamba dnamamba
COPY conf conf
COPY data_prep data_prep
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]" \
    && useradd --create-home --uid 1000 dnamamba \
    && mkdir /data && chown dnamamba /data

USER dnamamba
WORKDIR /data
ENTRYPOINT ["dnamamba"]
CMD ["--help"]
