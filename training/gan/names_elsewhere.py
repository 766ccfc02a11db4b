"""What the options of StyleGAN2-ADA, StyleGAN3 and other projects are called here: answers to unknown options of train.py."""

PRESETS_SET_IT = "the preset sets it (--cfg)"
HINTS = {  # regular expression of a whole option -> what to do instead
    "--width|--channels?|--ngf|--ndf|--fmap.*|--channel.*": "widths are --cbase and --cmax",
    "--map-depth|--mapping.*": f"depth of the mapping network: {PRESETS_SET_IT}; stylegan2 and ffhq256 have 8 layers, others 2",
    "--preset": "it is called --cfg",
    "--mbstd-group": "the minibatch standard deviation is taken over groups of 4",
    "--z-dim|--latent.*|--w-dim": f"sizes of z and w: {PRESETS_SET_IT}",
    "--xflip|--flip|--x-flip": "flipped images are added by --mirror 1",
    "--nosubdirs|--square": "a run always has a directory of its own, and images may have any proportions",
    "--snapshot.*|--save-freq|--ckpt.*": "ticks between snapshots are --snap",
    "--resume-.*": "--resume RUN_DIR knows how far the run was",
    "--verbose|--log.*": "what is printed stands in log.txt, too",
    "--trunc.*|--psi": "truncation is a matter of drawing: generate.py --trunc",
    "--lr|--learning-rate": "learning rates are --glr and --dlr",
    "--d(isc)?-lr.*|--lr-?d": "it is called --dlr",
    "--g(en)?-lr.*|--lr-?g": "it is called --glr",
    "--res|--resolution|--size|--image-size": "images keep their size; scripts/dataset_tool.py --resolution changes it",
    "--fp32|--tf32|--allow-tf32|--fp16|--bf16|--amp|--mixed.*": "the number format is --precision",
    "--nobench|--nhwc|--cudnn.*": "it is chosen without an option",
    "--img-?dir|--dataset|--data-?dir|--train-?dir": "images are given by --data",
    "--epochs?|--iters?|--steps|--max-steps|--duration|--total-kimg": "the length is --kimg, thousands of images, or --hours",
    "--batch-?size": "it is called --batch",
    "--transfer": "layers are chosen by --modulation, --resume SNAPSHOT fine-tunes, and train_style.py has --transfer",
    "--freeze|--freeze-.*": "it is called --freezed",
    "--kd-.*|--distill.*": "networks are not distilled here",
    "--r1.*": "the weight of R1 is --gamma",
    "--num-gpus|--nproc.*": "it is called --gpus",
    "--augment|--ada": "augmentation is --aug noaug, fixed or ada",
    "--ema.*": f"half-life of the moving average: {PRESETS_SET_IT}",
    "--arch|--model|--mod": "layers are chosen by --modulation",
    "--class|--label": "a run with labels is --cond 1",
    "--name|--run-name|--exp": "a word in the run directory's name is --desc",
}
NO_ALIAS_FREE = "StyleGAN3's layers are not implemented here; --cfg stylegan2 has StyleGAN2's"
CONFIGS = {  # StyleGAN's names of presets
    "stylegan3-t": NO_ALIAS_FREE,
    "stylegan3-r": NO_ALIAS_FREE,
    "paper256": "it is --cfg ffhq256, with R3GAN's loss unless --loss logistic is given",
    **dict.fromkeys(("paper512", "paper1024"), "--cfg stylegan2 goes by image size, as does --cfg auto on a GPU"),
}
