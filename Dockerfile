# For GPUs of NVIDIA and for CPUs. docs/docker.md says how it is built and run.
FROM python:3.11-slim

# The wheels of PyTorch bring CUDA with them; the machine needs a driver and the NVIDIA Container Toolkit.
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
RUN pip install --no-cache-dir -c constraints.txt -e ".[offline,video,viewer,onnx,hub]"

COPY . .
RUN useradd --create-home --uid 1000 ada && mkdir /data && chown ada /data
USER ada

# What is made and what is kept goes to /data; nothing is fetched, and no library sends what it counts.
ENV ADACONV_CACHE=/data/.cache HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 GRADIO_ANALYTICS_ENABLED=False
VOLUME /data
ENTRYPOINT ["python"]
CMD ["generate.py", "--help"]
