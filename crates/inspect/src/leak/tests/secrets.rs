use super::{all_rules, found, scan_with};
use crate::leak::SECRETS;

/// A rule; the halves of a text that it finds, and of one that it nearly finds. They are made up, and in halves so that no
/// scanner of repositories takes them for real.
#[rustfmt::skip]
const VECTORS: &[(&str, [&str; 2], [&str; 2])] = &[
    ("aws-access-key-id", ["AKIA", "I7BWVDTB3TVTLKCX"], ["AKIA", "I7BWVDTB3TVTLKC"]),
    ("aws-secret-access-key", ["aws_secret_access_key\": \"", "L3NdjCRQMAAfPT8Pj82QPeMQcdoMtpahuYsaomqa"], ["aws_secret_access_key\": \"", "L3NdjCRQMAAfPT8Pj82QPeMQcdoMtpahuYsaomq"]),
    ("aws-bedrock-key", ["ABSKQmVkcm9ja0FQSUtleS", "Exf6jJzBhGgFMb+UpHjFiIrl63bVDaf32dN3L37kKL5z8ScMm1uvoHOrj6qH0QJ7USGzOrnAEJzC9TYJytUWPW6aQx2LS"], ["ABSKQmVkcm9ja0FQSUtleS", "Exf6jJzBhGgFMb+UpHjFiIrl63bVDaf32dN3L37kKL5z8ScMm1uvoHOrj6qH0QJ7USGzOrnAEJzC9TYJytUWPW6aQ"]),
    ("github-pat", ["ghp_", "KGS8ttjssdcSHLf58SWFXKTkMYyy922z5gzZ"], ["ghp_", "KGS8ttjssdcSHLf58SWFXKTkMYyy922z5gz"]),
    ("github-oauth", ["gho_", "zTuOWUnZKY0b31o99H2mYmrdQJ5LgB1oDhcS"], ["gho_", "zTuOWUnZKY0b31o99H2mYmrdQJ5LgB1oDhc"]),
    ("github-app-user", ["ghu_", "Z5d7g4h1a3GTuMHjsUxbrVswoqaXrn2PjKH9"], ["ghu_", "Z5d7g4h1a3GTuMHjsUxbrVswoqaXrn2PjKH"]),
    ("github-app", ["ghs_", "GT4LRJxn4rkVQtmOgWZx4PvwRQwQqlun5lMD8oD"], ["ghs_", "GT4LRJxn4rkVQtmOgWZx4PvwRQwQqlun5lM"]),
    ("github-refresh", ["ghr_", "ngLm1RN1p6pGGnaWV9b20K6iV3EqZD1aBjbT"], ["ghr_", "ngLm1RN1p6pGGnaWV9b20K6iV3EqZD1aBjb"]),
    ("github-fine-grained", ["github_pat_", "LQshUzO1jXQC2Vk7_Bbwz1WH3WMxVkEyU2d49pq8Ky9CEiuM0oruY2goMN3SEbSkpPWtUChdMzAzQooKJN"], ["github_pat_", "LQshUzO1jXQC2Vk7_Bbwz1WH3WMxVkEyU2d49pq8Ky9CEiuM0oruY2goMN3SEbSkpPWtUChdMzAzQooKJ"]),
    ("gitlab-pat", ["glpat-", "JzxT24p6.auTvICSTCcxOZE"], ["glpat-", "JzxT24p6.auTvICSTCc"]),
    ("gitlab-deploy", ["gldt-", "7bb8Cxt3XhzbXtlrm6aePHd"], ["gldt-", "7bb8Cxt3XhzbXtlrm6a"]),
    ("gitlab-runner", ["glrt-", "8GqW75ARqx9QTP5gjJwxEUV"], ["glrt-", "8GqW75ARqx9QTP5gjJw"]),
    ("gitlab-ci", ["glcbt-", "0SAOTAIwxZpl_Ysc56NMqfY"], ["glcbt-", "0SAOTAIwxZpl_Ysc56N"]),
    ("gitlab-trigger", ["glptt-", "IYwVNhkTFkisWks9GN5HlJy"], ["glptt-", "IYwVNhkTFkisWks9GN5"]),
    ("gitlab-agent", ["glagent-", "gG_1Uk4g4dWNzntwEkP6wPu"], ["glagent-", "gG_1Uk4g4dWNzntwEkP"]),
    ("gitlab-oauth", ["gloas-", "DCfLfs2AzI8G.zsxZF7wjxi"], ["gloas-", "DCfLfs2AzI8G.zsxZF7"]),
    ("slack-bot", ["xoxb-", "gJzusSb8aVx-rPNM401bDQkq3wjSg4i9q"], ["xoxb-", "gJzusSb8aVx-rPNM401bDQkq3wjSg"]),
    ("slack-user", ["xoxp-", "p-UmZZqPqBHqQidgKtp9rVmtUNktMlAJp"], ["xoxp-", "p-UmZZqPqBHqQidgKtp9rVmtUNktM"]),
    ("slack-refresh", ["xoxe-", "H9buSoTHSpGC_JSQvnAujpG3OTQDc1E8uyLRKZ8RGh-FQYvhn1KIWZjnZYRyT55"], ["xoxe-", "H9buSoTHSpGC_JSQvnAujpG3OTQDc1E8uyLRKZ8RGh-FQYvhn1KIWZjnZYR"]),
    ("slack-app", ["xapp-1-", "jYEBfrJ_B4vnhZSwkt6OoAC_a8FGx-MVwvplfn6Zppt"], ["xapp-1-", "jYEBfrJ_B4vnhZSwkt6OoAC_a8FGx-MVwvplfn6"]),
    ("openai-project-key", ["sk-proj-", "avWmzM3b0RVkjj0r_KSG51IPVtTjJKbECQeZsuJeYD1"], ["sk-proj-", "avWmzM3b0RVkjj0r_KSG51IPVtTjJKbECQeZsuJ"]),
    ("openai-service-key", ["sk-svcacct-", "HpP0r-fw8G3ZNPJqU9Iv3Jn3uL8XZV_VMK4_pUlSlWt"], ["sk-svcacct-", "HpP0r-fw8G3ZNPJqU9Iv3Jn3uL8XZV_VMK4_pUl"]),
    ("anthropic-key", ["sk-ant-api03-", "QnZIPWmSRp1ZNMCFfDL7pC422tj2bZ04VXor2nsAsgFrcylhIQOdKNKGGJ7s104G-0gx5oObMJmNJ14HcLE"], ["sk-ant-api03-", "QnZIPWmSRp1ZNMCFfDL7pC422tj2bZ04VXor2nsAsgFrcylhIQOdKNKGGJ7s104G-0gx5oObMJmNJ14"]),
    ("openrouter-key", ["sk-or-v1-", "05e7f045f89b38f0a883099b1b0d38bb4211eb53d225175cb6872ba4aeddeeff"], ["sk-or-v1-", "05e7f045f89b38f0a883099b1b0d38bb4211eb53d225175cb6872ba4aeddeef"]),
    ("huggingface-token", ["hf_", "Cg0eFDCUGx33UflIMjlCFMpT59cJEXkoQ9ETT"], ["hf_", "Cg0eFDCUGx33UflIMjlCFMpT59cJEXkoQ"]),
    ("google-api-key", ["AIza", "PJ95pdvc9dqtDPh8zwGrItG8NnZM5FG8BL6"], ["AIza", "PJ95pdvc9dqtDPh8zwGrItG8NnZM5FG8BL"]),
    ("google-oauth-secret", ["GOCSPX-", "we9fdYcC2LWJw0neTgqG_niOgQ2j"], ["GOCSPX-", "we9fdYcC2LWJw0neTgqG_niOgQ2"]),
    ("google-oauth-token", ["ya29.", "jXI2n4hOzTu97_qK_B_-lobQ9MjsThtp3yTgoDItiiz"], ["ya29.", "jXI2n4hOzTu97_qK_B_-lobQ9MjsThtp3yTgoDI"]),
    ("stripe-key", ["sk_live_", "i4CjCxkO3qOowNM4tobVKvZeXRM"], ["sk_live_", "i4CjCxkO3qOowNM4tobVKvZ"]),
    ("stripe-webhook", ["whsec_", "H24FwLy9G4SbaYau47V7UGtrSFcGHZVIVI1"], ["whsec_", "H24FwLy9G4SbaYau47V7UGtrSFcGHZV"]),
    ("twilio-key", ["SK", "225eebe92c9a33f5d8376ccc469d827a"], ["SK", "225eebe92c9a33f5d8376ccc469d827"]),
    ("npm-token", ["npm_", "jpxT9BnNDey4QhaBYIDcaPrVXnpDGf1EhPEN"], ["npm_", "jpxT9BnNDey4QhaBYIDcaPrVXnpDGf1EhPE"]),
    ("pypi-token", ["pypi-AgEIcHlwaS5vcmc", "7aNdDQ_p258jhtLCra7T4lF0PUI-Ooi-NQK7CDx3twCH7oSGh8NFG"], ["pypi-AgEIcHlwaS5vcmc", "7aNdDQ_p258jhtLCra7T4lF0PUI-Ooi-NQK7CDx3twCH7oSGh"]),
    ("rubygems-key", ["rubygems_", "fc06df32441346231c030d30c507c0fc20b650345832314b"], ["rubygems_", "fc06df32441346231c030d30c507c0fc20b650345832314"]),
    ("crates-io-token", ["cio", "0fLuJzyhMRPiYKdelEKPKUD897ngPPSP"], ["cio", "0fLuJzyhMRPiYKdelEKPKUD897ngPPS"]),
    ("docker-token", ["dckr_pat_", "gvdwF8d8V91NBmW8Pr03j5t3322uta"], ["dckr_pat_", "gvdwF8d8V91NBmW8Pr03j5t332"]),
    ("private-key-base64", ["client-key-data\": \"", "d/PgMGlvOaaZDR17ZZSi0ekrI1dRNT9zaK92rncRONYqNyAvOYi4AaRQKQZzrZoXHEz4pI8yOH5vIMDtglwZCq6Z04EYylEOUWujnA34AI597914FC9dGHV20He"], ["client-key-data\": \"", "d/PgMGlvOaaZDR17ZZSi0ekrI1dRNT9zaK92rncRONYqNyAvOYi4AaRQKQZzrZoXHEz4pI8yOH5vIMDtglwZCq6Z04EYylEOUWujnA34AI597914FC9dGHV"]),
    ("age-key", ["AGE-SECRET-KEY-1", "EJLU9DL880BW08E2ZRB87U5FAHXTXT2K7MA7BXL2D15ENXUBB9VQDGJ5UX"], ["AGE-SECRET-KEY-1", "EJLU9DL880BW08E2ZRB87U5FAHXTXT2K7MA7BXL2D15ENXUBB9VQDGJ5U"]),
    ("azure-storage-key", ["AccountKey=", "sBeyiO3E6NTVi6P2AkwqkO39SUYUknTKA7pROnByGV851Jstr6K/Jj6UKWpCsF29X7mYrBkETGyl27hTAQyxTV"], ["AccountKey=", "sBeyiO3E6NTVi6P2AkwqkO39SUYUknTKA7pROnByGV851Jstr6K/Jj6UKWpCsF29X7mYrBkETGyl27hTAQyxT"]),
    ("azure-sas-key", ["SharedAccessKey=", "gpS8FzmEAR+2jqpUMRZKazcczeeOj5aHb6NcUNQlUea"], ["SharedAccessKey=", "gpS8FzmEAR+2jqpUMRZKazcczeeOj5aHb6NcUNQlUe"]),
    ("vault-token", ["hvs.", "PkAwGSpShr0iIpPOKP8AtxAdiTd"], ["hvs.", "PkAwGSpShr0iIpPOKP8AtxA"]),
    ("digitalocean-token", ["dop_v1_", "ee860fbe97592488cf2593fd0c04d0dad8d1a4c613fa81732e69aac0934e8a05"], ["dop_v1_", "ee860fbe97592488cf2593fd0c04d0dad8d1a4c613fa81732e69aac0934e8a0"]),
    ("shopify-token", ["shpat_", "6e82c37032f1e23da6674a19b21a8b37"], ["shpat_", "6e82c37032f1e23da6674a19b21a8b3"]),
    ("square-token", ["sq0atp-", "MotWOcKoN-SdluY-A2PpG_8Un"], ["sq0atp-", "MotWOcKoN-SdluY-A2PpG"]),
    ("mailgun-key", ["key-", "5cd7b89baa7fbad8971a5fbfbb1bf49b"], ["key-", "5cd7b89baa7fbad8971a5fbfbb1bf49"]),
    ("linear-key", ["lin_api_", "AbvvTdX1uROQiK7jEtUOObfTjSFivi4QdAnNp5zQC0b"], ["lin_api_", "AbvvTdX1uROQiK7jEtUOObfTjSFivi4QdAnNp5z"]),
    ("notion-token", ["ntn_", "8qL4IpBXHFcQKB3bX6nXpM4aCFAUwZxNbCoUOqcqueOEor"], ["ntn_", "8qL4IpBXHFcQKB3bX6nXpM4aCFAUwZxNbCoUOqcque"]),
    ("figma-token", ["figd_", "LYDgo-PyYJwuxuaGML21y-efk3o-IA1F-nfKC6SIm3a"], ["figd_", "LYDgo-PyYJwuxuaGML21y-efk3o-IA1F-nfKC6S"]),
    ("google-ai-key", ["AQ.Ab", "odJFCrnl2edlBDdz1C5Jau2RJtBRnlWmTSHf6pWkLUyifDLkD3"], ["AQ.Ab", "odJFCrnl2edlBDdz1C5Jau2RJtBRnlWmTSHf6pW"]),
    ("azure-key", ["gyrDO1xkxwnQrS7RPeMOkIUpkDyr7OSJoRu1XXdo0cZuzren68K4JQQJ99", "TunPFz46PDjqipVJIqVLB5Lzxo"], ["rDO1xkxwnQrS7RPeMOkIUpkDyr7OSJoRu1XXdo0cZuzren68K4JQQJ99", "TunPFz46PDjqipVJIqVLB5Lzxo"]),
    ("together-key", ["tgp_v1_", "r-lgotu2iXW7GboIRoL3u6aHwnMztVuaP_coUNEhEkf"], ["tgp_v1_", "r-lgotu2iXW7GboIRoL3u6aHwnMztVuaP_coUNEhEk"]),
    ("cerebras-key", ["csk-", "UF0eWIXiiQE8JkqH3MB9n7IWUSmTtzQPxC5HChpoevbLJoLo"], ["csk-", "UF0eWIXiiQE8JkqH3MB9n7IWUSmTtzQPxC5HChpoevbLJoL"]),
    ("jina-key", ["jina_", "aeTOdoe5c3veGprQFnIiU74KKEpYEZAmggQBwBAD3UdRPPgdzUvZ3gpmmICi"], ["jina_", "aeTOdoe5c3veGprQFnIiU74KKE"]),
    ("llamacloud-key", ["llx-", "BlrDp37eCZ32JgdPI1af7W2pkAFEn3z5dkyayq7YYDsBS9UY"], ["llx-", "BlrDp37eCZ32JgdPI1af7W2pkAFEn3z5dkyayq7YYDsBS9U"]),
    ("tavily-key", ["tvly-", "dev-JQTFjmsn9dLVIdVuddLEG62Hkd9Gf2le"], ["tvly-", "dev-JQTFjmsn9dLVIdVuddLEG6"]),
    ("elevenlabs-key", ["sk_", "27c3712da86a78c49ea20e32684b27b95e909348334896a6"], ["sk_", "27c3712da86a78c49ea20e32684b27b95e909348334896a"]),
    ("firecrawl-key", ["fc-", "8f812d810a485ed03241b4d419b1b673"], ["fc-", "8f812d810a485ed03241b4d419b1b67"]),
    ("e2b-key", ["e2b_", "bd4755d05ad7853c1f76eb97706ca828bca03858"], ["e2b_", "bd4755d05ad7853c1f76eb97706ca828bca0385"]),
    ("runpod-key", ["rpa_", "cgMBwUYuBMGhy5KmqcTBaH7ZIRU8VVQmxBe8Q6vNuQ2hU5"], ["rpa_", "cgMBwUYuBMGhy5KmqcTBaH7ZIR"]),
    ("wandb-key", ["wandb_v1_", "tGtQAuzSsJimAQ8yRV5lNKtzJ1a_tsnBYLMPuDCCRnGEY59YVkQfsGQONvf08WpRtoZmjbcpEN2Xe"], ["wandb_v1_", "tGtQAuzSsJimAQ8yRV5lNKtzJ1"]),
    ("vercel-key", ["vck_", "DA4OKmTSyFzpjPSa5W3X4gXBolZ9SHDdJp62hDiZDQHJMu8W5CN0U5GB"], ["vck_", "DA4OKmTSyFzpjPSa5W3X4gXBol"]),
    ("fireworks-key", ["fw_", "16JC5kV3ECqWp1OrXXHFOprC"], ["fw_", "16jc5kv3ecqwp1orxxhfoprc"]),
    ("voyage-key", ["pa-", "jKEIQOkrtDXtBi10Q71hA1XcW9aTMX1C_CI3_dXRZv1"], ["pa-", "jKEIQOkrtDXtBi10Q71hA1XcW9aTMX1C_CI3_dXRZv"]),
    ("langfuse-key", ["sk-lf-", "fb10987f-20ac-3703-eb67-146a77a6e17c"], ["sk-lf-", "fb10987f020ac-3703-eb67-146a77a6e17c"]),
    ("cloudflare-token", ["cfut_", "NIb6zLKQbfPBi3DldqyunDuvW4yrW81Aq1fEbVIdfb6252ca"], ["cfut_", "NIb6zLKQbfPBi3DldqyunDuvW4yrW81Aq1fEbVIdfb6"]),
    ("groq-key", ["gsk_", "baI4kCSnGAkIirFl2vvVwy18r4Gz9gCqPiXhjEUqH6msYmdnJbSw"], ["gsk_", "baI4kCSnGAkIirFl2vvVwy18r4Gz9gCqPiXhjEUqH6msYmdnJbS"]),
    ("xai-key", ["xai-", "n3JwGMSwxfh34AAQ3wLWYq4nQ4hc7p0n58MYCrKdi4SYSBtnQXis2Pri3sb8ThWQJgev9amOe"], ["xai-", "n3JwGMSwxfh34AAQ3wLWYq4nQ4hc7p0n58MYCrKdi4SYSBtnQXis2Pri3sb8ThWQJgev9"]),
    ("perplexity-key", ["pplx-", "SLTETFs5C70ya6takvdKIsVPVQnxRoXANnZEIYoHk9i"], ["pplx-", "SLTETFs5C70ya6takvdKIsVPVQnxRoXANnZEIYo"]),
    ("replicate-token", ["r8_", "dG0OYLJW2Ox5w3D3KLNBqE9kxryigt2RwRGEJ"], ["r8_", "dG0OYLJW2Ox5w3D3KLNBqE9kxryigt2RwRGE"]),
    ("nvidia-key", ["nvapi-", "9nL-vgxVlCwqGrB9OXiqQEi8Y03hulZRBYO4zaZhQ2q_RVtUbFLCSBD26VL3Lsi"], ["nvapi-", "9nL-vgxVlCwqGrB9OXiqQEi8Y03hulZRBYO4zaZhQ2q_RVtUbFLCSBD26VL"]),
    ("langsmith-key", ["lsv2_pt_", "FQ_5wDl04Q3pefhi5pIqSdjHgaB6UiNVE6v1zlsDLLL_Uq"], ["lsv2_pt_", "FQ_5wDl04Q3pefhi5pIqSdjHgaB6UiNVE6v1zlsDLL"]),
    ("pinecone-key", ["pcsk_", "iMPMDv9yraM_mDlpL7SCyt4eSJKmMZ2ekmVDD2ZCwdW0oBl8yIhaw1jK1BEQs13"], ["pcsk_", "iMPMDv9yraM_mDlpL7SCyt4eSJKmMZ2ekmVDD2ZCwdW0oBl8yIhaw1jK1BE"]),
    ("doppler-token", ["dp.pt.", "ZUyHMxnW0Ucr9XD8U0h3RY7etjlF25cPBb3EiNKlkCS"], ["dp.pt.", "ZUyHMxnW0Ucr9XD8U0h3RY7etjlF25cPBb3EiNK"]),
    ("planetscale-token", ["pscale_tkn_", "91uEU.MgV9IWSyBsN9ndpo7mwsT3IqXKf1H"], ["pscale_tkn_", "91uEU.MgV9IWSyBsN9ndpo7mwsT3IqX"]),
    ("grafana-token", ["glsa_", "0957be6023cd70a13e62c55217b68bab_b019e821"], ["glsa_", "0957be6023cd70a13e62c55217b68bab_b019e82"]),
    ("grafana-cloud-token", ["glc_", "XutN9/sY+iuMPLbS3ZhI7qPTc4blQ7PMuod"], ["glc_", "XutN9/sY+iuMPLbS3ZhI7qPTc4blQ7P"]),
    ("new-relic-key", ["NRAK-", "1bieMoc7tRUkwrylXW3h0GYctd4"], ["NRAK-", "1bieMoc7tRUkwrylXW3h0GYctd"]),
    ("sentry-token", ["sntrys_", "iK1F5iAqY8cTZw24eYaeI5E_xxToW_kPE0LE6BJx0hJySjyQ5UIRYGodbBSfsLKGeTR"], ["sntrys_", "iK1F5iAqY8cTZw24eYaeI5E_xxToW_kPE0LE6BJx0hJySjyQ5UIRYGodbBSfsLK"]),
    ("postman-key", ["PMAK-", "nHv2fQn9S1cX_-brKDNUWjrsE6Kwa0yuP8i5FDmYus1xXrGH2J9Ly_XoDv2"], ["PMAK-", "nHv2fQn9S1cX_-brKDNUWjrsE6Kwa0yuP8i5FDmYus1xXrGH2J9Ly_XoDv"]),
    ("atlassian-token", ["ATATT3xFfGF0", "pab5mnoEJ88JEbtEeirg2WmUgb7D34s-GJtzAz2KGxOaCV7wQwzNRJcsdP_XhQH"], ["ATATT3xFfGF0", "pab5mnoEJ88JEbtEeirg2WmUgb7D34s-GJtzAz2KGxOaCV7wQwzNRJcsdP_"]),
    ("fly-token", ["fo1_", "j161vOj0r+PPYux7gdTc6SUQPGiCiYkxCXyZQoUzfQv6FY"], ["fo1_", "j161vOj0r+PPYux7gdTc6SUQPGiCiYkxCXyZQoUzfQ"]),
    ("supabase-key", ["sbp_", "PKvnu4mTOuRsg5z1LFDE3aYJKcfeTyirtJ"], ["sbp_", "PKvnu4mTOuRsg5z1LFDE3aYJKcfeTy"]),
    ("tailscale-key", ["tskey-auth-", "BWfomSVk3w1ZM56BCj4N_Eu"], ["tskey-auth-", "BWfomSVk3w1ZM56BCj4"]),
    ("netlify-token", ["nfp_", "KG2PELrcbbb8tjUwetPU2am6g7QAScfcnAYp"], ["nfp_", "KG2PELrcbbb8tjUwetPU2am6g7QAScfcnAY"]),
    ("pulumi-token", ["pul-", "02d949e4df4d4d2e55909e90a0ed57556ac96bf8"], ["pul-", "02d949e4df4d4d2e55909e90a0ed57556ac96bf"]),
    ("dynatrace-token", ["dt0c01.", "A6rFDP1KpVBr2ed.IDNyU.HWuzf_PEcX99azAhzZJBU9WLRMkBDYkqtEX8RAWbISrEt0B94qEq65DnKx1oI"], ["dt0c01.", "A6rFDP1KpVBr2ed.IDNyU.HWuzf_PEcX99azAhzZJBU9WLRMkBDYkqtEX8RAWbISrEt0B94qEq65DnK"]),
    ("artifactory-key", ["AKCp", "P7VLaB4priQEl6kNv0sPCF785R80Lpb8vO7S8Nr5w450H6tSUgwAjMsTvoca8mD"], ["AKCp", "P7VLaB4priQEl6kNv0sPCF785R80Lpb8vO7S8Nr5w450H6tSUgwAjMsTvoc"]),
    ("alibaba-key-id", ["LTAI", "uGWJ1mhm9DXFASJagjp9"], ["LTAI", "uGWJ1mhm9DXFASJagjp"]),
    ("facebook-token", ["EAAG", "7OR3GpCvuAK3jJpnYYErj64uBBmiE2j99JSRHUdQ264HHC4QVplvxyGedaqq33U4nRRdkpCf4nqugg4evYaipI1BawuMp"], ["EAAG", "7OR3GpCvuAK3jJpnYYErj64uBBmiE2j99JSRHUdQ264HHC4QVplvxyGedaqq33U4nRRdkpCf4nqugg4evYaipI1Ba"]),
    ("slack-webhook", ["hooks.slack.com/services/T", "0A1B2C3D4/B0E5F6G7H8/dUtIsb7HPe1KlEX26ZoVuKxK"], ["hooks.slack.com/services/T", "0A1B2C3D4/rAyJSF0dfisTnCcQiroG7omN"]),
    ("openai-key", ["sk-", "04RZga2AIxT1Wv9YPN5aT3BlbkFJRpbShhyOuap2HJVRwvG7"], ["sk-", "0ZgMUAQeEdORLv206MYIT3BlbkFJ"]),
    ("sk-key", ["sk-", "ba6b1b416b3b67892228a97243974715"], ["sk-", "dcd4f9218d3e7fb04e316b330f59456"]),
    ("sendgrid-key", ["SG.", "uJHZbYpGyan3TspkRnwVan.zHgQgyXhzZmyaXj_kXZ3NstkXRf057-RIYKWHb8xCWj"], ["SG.", "9ejGRzpD-tC4TCWQvNfubj.m-fjmmR2-iuC8YbZ4-luE_eeacgU6Au6IhPS8TxTSZ"]),
    ("private-key", ["-----BEGIN ", "RSA PRIVATE KEY-----\\njxE4ER5KBr/rj2vmerQovGehJfx+ylKbSYX48HwpLUrwY1ZMfPEhO5JiFUHpNk+N\\n-----END"], ["-----BEGIN ", "PUBLIC KEY-----\\nQrbYQPqDTSporrwW1I0HDAjU8rnkSJ8ibF/+cVyxJEl3UsDPwgSA+NdQxNUfjn2Q\\n-----END"]),
    ("jwt", ["eyJ", "hbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImlzcyI6Imh0dHBzOi8vaXNzdWVyLnRlc3QifQ.umc69fBTto7KAgGkLq_Bn3FZbuMqf4f8EZYsyH2INQ3"], ["eyJ", "hbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.umc69fBTto7KAgGkLq_Bn3FZbuMqf4f8EZYsyH2INQ3"]),
    ("kubernetes-token", ["eyJ", "hbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMiLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpkZWZhdWx0In0.umc69fBTto7KAgGkLq_Bn3FZbuMqf4f8EZYsyH2INQ3"], ["eyJ", "hbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpkZWZhdWx0In0."]),
    ("database-url", ["postgres", "://app:kT7vRq2x@db.internal:5432/app"], ["postgres", "://app:${PASSWORD}@db.internal:5432/app"]),
    ("database-url", ["mongodb+srv", "://app:kT7vRq2x@cluster0.test/"], ["https", "://app:kT7vRq2x@cluster0.test/"]),
    ("database-url", ["postgresql+asyncpg", "://app:kT7vRq2x@db/x"], ["postgresql+asyncpg", "://app@db/x"]),
    ("terraform-token", ["4Lysiqj5am2rZa.atlasv1.", "UmgbS-GJQUJvjugvil6WETaUdFyguZ0J1ZVbclKPrnNPXo77-mmHWRBJ7VhD5KJm"], ["lDr6KvWOFDyo.atlasv1.", "8kHI5ja_f0K_VYt61MSRfXNoeh7tm127lNGWynvmTYLGpdBs5ssLB6_YklyR9xuF"]),
    ("discord-webhook", ["discord.com/api/webhooks/", "112233445566778899/naGc0onQSNjsPOpjO5qmSU3Wp7JLAbtUUE7QrimOHADmAShoVlnanEwsxod7cMV0moQR"], ["discord.com/api/webhooks/", "112233/Ul93LzCz7ZAVRT90jlsju-Dv7Rh0rCxhJe2QAJ8T-7iw2M_EvR3QU4p6WVR1rdQlO05E"]),
    ("telegram-bot", ["123987456:AA", "1FSObdhheCKJjlukB1b2TbFs6L889vcV7"], ["1239874:AA", "hzOfpc8yCdoCfpD4fzQNpTGTPxZmLC-VQ"]),
    ("databricks-token", ["dapi", "6b8f5bfcbc5f9cb541709d82e89b4c4f"], ["dapi", "a9ee7cce7bab93e8706a467a56cb67"]),
];

fn rules(text: &str) -> Vec<&'static str> {
    found(text.as_bytes())
        .iter()
        .map(|leak| leak.0)
        .filter(|rule| SECRETS.iter().any(|secret| secret.id == *rule))
        .collect()
}

#[test]
fn each_secret_is_found_and_what_is_nearly_one_is_not() {
    for (rule, is, is_not) in VECTORS {
        for (before, behind) in
            [("", ""), ("key: \"", "\""), ("{\"text\":\"line\\n", "\\nmore\"}"), ("x=", "&y=1")]
        {
            let text = format!("{before}{}{behind}", is.concat());
            assert_eq!(rules(&text), [*rule], "{text}");
            let text = format!("{before}{}{behind}", is_not.concat());
            assert!(!rules(&text).contains(rule), "{rule}: {text}");
        }
    }
}

#[test]
fn every_rule_has_a_vector() {
    for secret in SECRETS {
        assert!(VECTORS.iter().any(|(rule, ..)| *rule == secret.id), "{}", secret.id);
        assert!(
            secret.source.starts_with("https://") || secret.source == "vendor documentation",
            "{}",
            secret.id
        );
    }
}

#[test]
fn placeholders_are_no_secrets() {
    let texts = [
        "AKIAIOSFODNN7EXAMPLE",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-proj-your-key-goes-here-your-key-goes-here-your-key",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "hf_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "postgres://user:password@localhost/db",
        "postgres://user:<password>@localhost/db",
        "redis://localhost:6379/0",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ4b1k2y9c7d8e9f0a1b2c3d4e5f6g7h8MIIBszCCAVmgAwIB\n",
        "eyJhbGciOiJIUzI1NiJ9.short.sig",
        "task-force-and-ask-for-it, risk-averse",
    ];
    for text in texts {
        assert_eq!(rules(text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn hashes_uuids_and_names_are_no_secrets() {
    let texts = [
        "sha256:80627df7ffe0297c79bfbdabe898736a3566f893697b590481194f309ffea518",
        "commit 1bdb2a0df3dbe4d58fed8a728e7eca0fa5f6b8a8 of main",
        "\"id\": \"1d34d08e-7a4c-75d4-dc99-e04cf0e98b3b\", \"parent\": \"7de31a51-6694-c343-10ba-58e3d2762bdc\"",
        "ETag: W/\"b7210760474f36e8b5359309cc627393\"",
        "/blobs/80627df7ffe0297c79bfbdabe898736a3566f893697b590481194f309ffea518/fw_b7210760474f36e8b5359309.bin",
        "pa-afbb411a-a-page-on-gardens-and-water-in-2024-q1",
        "spa-djjZK8tfphJWAMMYNoXHyC6Ct3LBtKNdN9Vg8WnOnqQ",
        "fw_module_load_firmware_version_2",
        "sk-lf-1d34d08e7a4c75d4dc99e04cf0e98b3b",
        "integrity sha512-kuEwjua058LeDKK6jDHz2oCtIsjhvNK4p7MZI/4kf3PGdlDcIfw84Jx3+l8S0QPnuQ0/KZe6lOGPoZa70gyU/4==",
    ];
    for text in texts {
        assert_eq!(rules(text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn a_checksum_within_a_token_confirms_it() {
    let is_confirmed = |text: &str| scan_with(&all_rules(), text.as_bytes(), 7).leaks()[0].is_confirmed;
    for rule in ["github-pat", "cloudflare-token"] {
        let row = VECTORS.iter().find(|(of, ..)| *of == rule).unwrap();
        let text = row.1.concat();
        assert!(is_confirmed(&text), "{text}");
        let (start, last) = text.split_at(text.len() - 1);
        assert!(!is_confirmed(&format!("{start}{}", if last == "a" { "b" } else { "a" })), "{text}");
    }
}
