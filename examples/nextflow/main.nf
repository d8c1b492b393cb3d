// Scores the variants of every sample; docs/workflows.md explains it.
//
//   nextflow run main.nf --vcf 'variants/*.vcf' --genome genome.fa.gz
params.vcf = 'variants/*.vcf'
params.genome = 'genome.fa.gz'
params.model = 'yeast-66k' // or the folder of a run

process SCORE {
    cpus 2
    publishDir 'scored', mode: 'copy'

    input:
    tuple val(sample), path(vcf)
    path fasta
    val model

    output:
    tuple val(sample), path("${sample}.scored.vcf.gz")

    script:
    """
    OMP_NUM_THREADS=${task.cpus} dnamamba score model='${model}' vcf='${vcf}' fasta='${fasta}' window=512 out='${sample}.scored.vcf.gz'
    """
}

workflow {
    samples = Channel.fromPath(params.vcf, checkIfExists: true).map { vcf -> tuple(vcf.simpleName, vcf) }
    SCORE(samples, file(params.genome, checkIfExists: true), params.model)
}
