# The explorer, served by a user without rights:
#
#     docker build -t rgflow .
#     docker run --rm -p 7860:7860 --cap-drop ALL --security-opt no-new-privileges rgflow
#
# Options of `rgflow app` come last, such as `rgflow --auth user:password`.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# A package index with builds of torch for CPUs alone makes the image much smaller.
ARG TORCH_INDEX
RUN pip install --no-cache-dir torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
RUN --mount=from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/rgflow-*.whl)[app]"
RUN useradd --create-home --uid 10001 rgflow
USER rgflow
WORKDIR /home/rgflow
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
ENTRYPOINT ["rgflow", "app", "--host", "0.0.0.0", "--port", "7860"]
