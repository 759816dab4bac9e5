# The serving container: uid 1000, port 7860, and a root file system that may be read-only.
#
#   docker build -t miles .
#   docker run --read-only --cap-drop ALL -p 7860:7860 miles
#
# The build compiles the checkpoint, so the image contains neither torch nor a .pt file. It compiles
# models/model_full.pt from the build context, or downloads CHECKPOINT=hf://owner/repo/file, or else creates the demo
# checkpoint. Stages are ordered by how often they change.

# A release names the base by its digest (.github/workflows/release.yml).
ARG BASE=docker.io/library/python:3.11-slim

FROM $BASE AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/venv/bin:$PATH


FROM base AS packages
RUN python -m venv /venv
COPY requirements/serve.lock /build/requirements/
# Each file is checked against the lock's sha256, and no package runs build code. pip and setuptools are not needed
# at run time.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --quiet install --require-hashes --only-binary :all: \
        -r /build/requirements/serve.lock \
    && python -m pip --quiet uninstall --yes pip setuptools


# Pinned, not hashed: torch's CPU builds are on an index of their own, and if that does not answer, another build of
# the same version is used. Only the compiled model of this stage gets into the image.
FROM base AS compiler
RUN python -m venv /venv
COPY requirements.txt /build/
COPY requirements/serve.txt requirements/constraints.txt /build/requirements/
COPY deploy/install-torch /build/deploy/
RUN --mount=type=cache,target=/root/.cache/pip \
    sh /build/deploy/install-torch python /build/requirements.txt \
    && python -m pip --quiet install -r /build/requirements.txt


FROM compiler AS weights
WORKDIR /app
COPY requirements/text-encoder.lock requirements/
COPY model/ model/
COPY preprocessing/ preprocessing/
COPY models/ models/
ARG CHECKPOINT=
ARG PRECISION=auto
# A private repository's token is a build secret (docker build --secret id=HF_TOKEN): no layer keeps it.
RUN --mount=type=secret,id=HF_TOKEN,required=false \
    export HF_TOKEN_PATH=/run/secrets/HF_TOKEN && \
    { [ -n "$CHECKPOINT" ] || [ -f models/model_full.pt ] || python -m model.demo --out models/model_full.pt; } && \
    python -m model.compile "${CHECKPOINT:-models/model_full.pt}" --precision "$PRECISION" --out models/bundle && \
    chmod -R a+rX models


FROM base AS code
WORKDIR /app
COPY app.py ./
COPY deploy/healthcheck.py deploy/
COPY features/ features/
COPY model/ model/
COPY preprocessing/ preprocessing/
COPY serving/ serving/
# Checked by content, because time stamps depend on how the image was copied.
RUN python -m compileall -q --invalidation-mode unchecked-hash . && chmod -R a+rX .


FROM base AS serve
RUN useradd --uid 1000 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin miles
ENV HOME=/nonexistent \
    MILES_CHECKPOINT=models/bundle

WORKDIR /app
COPY --from=packages /venv /venv
COPY --from=weights /app/models/bert-base-uncased models/bert-base-uncased
COPY --from=weights /app/models/bundle models/bundle
COPY --from=code /app ./

USER 1000:1000
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 CMD ["python", "deploy/healthcheck.py"]
CMD ["python", "app.py"]

# Last, because the revision changes with every commit and would invalidate every layer after it.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Miles" \
      org.opencontainers.image.description="Scores short-form videos before they take off." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
